# SPDX-License-Identifier: Apache-2.0
"""The geometry-aware encoder: detail is colour alone, stays where it was laid, and its file says what is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from backend.e3dge import DetailBranch, GeometryEncoder, Seen, detailed, load_e3dge, save_e3dge
from backend.errors import ModelError
from backend.starter_encoder import EncoderConfig, StarterEncoder, save_encoder
from tests.small_starter import SIDE, front_points, small_generator

CONFIG = EncoderConfig(
    z_dim=5, shapes=4, expressions=3, plane_channels=4, offset_px=4, size_px=32, channels=(16, 24), blocks=(0, 1),
    hidden=32,
)  # fmt: skip
SIZE = 8


@pytest.fixture(scope="module")
def generator():
    return small_generator(bald=False).requires_grad_(False)


@pytest.fixture(scope="module")
def head(generator):
    return generator.planes(generator.map(torch.randn(1, 5, generator=torch.Generator().manual_seed(0))))


@pytest.fixture
def branch():
    """One that does something."""
    torch.manual_seed(0)
    made = DetailBranch(channels=4, side_px=8).requires_grad_(False)
    nn.init.normal_(made.planes.leave.weight, std=0.5)
    nn.init.normal_(made.align.change.weight, std=0.2)
    return made


def seen(*, trusted=SIZE):
    random = torch.Generator().manual_seed(2)
    pictures = {name: torch.rand(1, 3, SIZE, SIZE, generator=random) for name in ("photo", "first", "mirrored")}
    shown = torch.zeros(1, 1, SIZE, SIZE)
    shown[..., :trusted] = 1
    points = torch.from_numpy(front_points(SIZE * SIZE)).float().T.reshape(1, 3, SIZE, SIZE)
    return Seen(depth=0.01 * shown, shown=shown, points=points, **pictures)


def places():
    return (torch.rand(1, 500, 3, generator=torch.Generator().manual_seed(3)) - 0.5) * 0.3


def test_untrained_the_local_stage_adds_nothing(head):
    assert not DetailBranch(channels=4, side_px=8)(head, seen(), side=SIDE).any()


def test_detail_leaves_every_distance_as_it_was_and_changes_colours(generator, head, branch):
    moved = detailed(branch, head, seen(), side=SIDE)
    (outer, color), (outer_moved, color_moved) = (generator.decode(one, places()) for one in (head, moved))
    assert torch.equal(outer, outer_moved)
    assert float((color - color_moved).abs().max()) > 1e-3


def test_an_offset_of_the_planes_and_one_for_colours_do_not_meddle(generator, head, branch):
    offset = branch(head, seen(), side=SIDE)
    fine = nn.functional.interpolate(offset.flatten(0, 1), scale_factor=2).unflatten(0, (1, 3))
    both, moved = head.moved(fine).recolored(2 * fine), head.moved(fine)
    torch.testing.assert_close(generator.decode(both, places())[0], generator.decode(moved, places())[0])
    expected = generator.decode(head.moved(3 * fine), places())[1]
    torch.testing.assert_close(generator.decode(both, places())[1], expected)


def test_pixels_without_trust_tell_nothing(head, branch):
    one, other = seen(trusted=5), seen(trusted=5)
    other.points[..., 5:] += 0.02
    other.photo[..., 5:] = 0
    torch.testing.assert_close(branch(head, one, side=SIDE), branch(head, other, side=SIDE))


def test_the_hidden_side_gets_the_seen_side_s_features(head):
    """Before it has learnt otherwise, a place and its mirror image are told alike."""
    torch.manual_seed(0)
    branch = DetailBranch(channels=4, side_px=8)
    features = torch.rand(1, 6, 24)
    turned = branch.align(features, torch.rand(1, 6, 3), torch.rand(1, 6, 6))
    torch.testing.assert_close(turned, features)


def test_a_stored_encoder_answers_the_same(head, branch, tmp_path):
    torch.manual_seed(0)
    encoder = GeometryEncoder(CONFIG, plane_px=16).eval()
    encoder.detail.load_state_dict(branch.state_dict())
    save_e3dge(tmp_path / "e3dge.safetensors", encoder, generator_id="small-1")
    again, generator_id = load_e3dge(tmp_path / "e3dge.safetensors")
    assert generator_id == "small-1" and again.config == CONFIG
    offsets = [one.detail(head, seen(), side=SIDE) for one in (encoder, again)]
    torch.testing.assert_close(*offsets, atol=5e-3, rtol=1e-2)
    picture, landmarks = torch.rand(1, 4, 32, 32), torch.rand(1, 478, 2)
    for name, told in encoder.codes(picture, landmarks).means.items():
        torch.testing.assert_close(again.codes(picture, landmarks).means[name], told, atol=5e-3, rtol=1e-2)


def test_the_shipped_sizes_fit_their_budget():
    shipped = EncoderConfig(z_dim=78, shapes=64, expressions=51, plane_channels=16, offset_px=32)
    encoder = GeometryEncoder(shipped, plane_px=128)
    assert 2 * sum(value.numel() for value in encoder.parameters()) < 10e6


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "e3dge.safetensors"
    with pytest.raises(ModelError) as caught:
        load_e3dge(path)
    assert caught.value.code == "model_missing"
    save_encoder(path, StarterEncoder(CONFIG), generator_id="small-1")
    with pytest.raises(ModelError) as caught:
        load_e3dge(path)
    assert caught.value.code == "model_damaged"
    save_e3dge(path, GeometryEncoder(replace(CONFIG, hidden=48), plane_px=16), generator_id="small-1")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError) as caught:
        load_e3dge(path)
    assert caught.value.code == "model_damaged"
