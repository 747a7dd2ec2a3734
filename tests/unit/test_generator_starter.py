# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.field import SignedDistanceField
from backend.generator.starter import FACE_BLEND_M, OUTER_SCALE_M, WARP, StarterGenerator, warp
from tests.small_starter import SIDE, egg_distance, front_points, small_generator


@pytest.fixture(scope="module")
def generator():
    return small_generator().requires_grad_(False)


@pytest.fixture(scope="module")
def hairy():
    return small_generator(bald=False).requires_grad_(False)


def ws_of(generator, seed=0):
    return generator.map(torch.randn((1, generator.config.z_dim), generator=torch.Generator().manual_seed(seed)))


def space(count=500, seed=0):
    return (torch.rand((count, 3), generator=torch.Generator().manual_seed(seed)) - 0.5) * SIDE


def test_the_warp_maps_the_cube_onto_itself_and_stays_in_order():
    along = torch.linspace(-SIDE / 2, SIDE / 2, 401)
    warped = warp(along[:, None].expand(-1, 3).contiguous(), SIDE)
    torch.testing.assert_close(warped[[0, 200, 400]], torch.tensor([-SIDE / 2, 0.0, SIDE / 2])[:, None].expand(-1, 3))
    assert (warped.diff(dim=0) > 0).all()
    torch.testing.assert_close(warped, -warped.flip(0))


def test_the_warp_is_finer_in_the_middle_by_its_gain():
    step = torch.full((1, 3), 1e-5)
    middle = warp(step, SIDE) / 1e-5
    torch.testing.assert_close(middle, 1 + torch.tensor([WARP]), rtol=1e-3, atol=1e-3)


def test_all_rows_of_mapped_codes_are_alike(generator):
    ws = ws_of(generator)
    assert ws.shape == (1, generator.num_ws, generator.config.w_dim)
    assert (ws == ws[:, :1]).all()


def test_a_batch_of_heads_is_its_heads(hairy):
    z = torch.randn((3, hairy.config.z_dim), generator=torch.Generator().manual_seed(1))
    points = space(60).expand(3, -1, -1)
    outer, color = hairy.decode(hairy.planes(hairy.map(z)), points)
    for number in range(3):
        field = hairy.field(hairy.map(z[number, None]))
        torch.testing.assert_close(color[number].clamp(0, 1), field.color(points[0]), rtol=1e-4, atol=1e-5)
        alone = torch.minimum(outer[number], hairy.body_distance(points[0]))
        torch.testing.assert_close(alone, field.signed_distance(points[0]), rtol=1e-4, atol=1e-6)


def test_body_distance_is_the_stored_lattice(generator):
    points = np.concatenate([front_points(200), np.random.default_rng(0).uniform(-0.12, 0.12, (200, 3))])
    found = generator.body_distance(torch.from_numpy(points.astype(np.float32))).numpy()
    np.testing.assert_allclose(found, egg_distance(points), atol=0.0016)  # A cell of the lattice is 9 mm wide.


def test_lattice_nodes_are_hit_exactly(generator):
    axis = torch.linspace(-SIDE / 2, SIDE / 2, 49)
    nodes = torch.tensor([[3, 40, 7], [48, 0, 20], [10, 24, 5]])
    expected = generator.body[nodes[:, 0], nodes[:, 1], nodes[:, 2]]
    torch.testing.assert_close(generator.body_distance(axis[nodes]), expected, rtol=1e-4, atol=1e-6)


def test_the_fine_lattice_takes_over_smoothly_at_its_edge():
    """With 0 in one lattice and 1 in the other, the answer is the share of the finer one."""
    low, high = torch.tensor([-0.05, -0.05, 0.02]), torch.tensor([0.05, 0.05, 0.12])
    two = StarterGenerator(
        small_generator().config,
        body=torch.zeros((4, 4, 4)),
        face=torch.ones((5, 5, 5)),
        face_box=torch.stack([low, high]),
    )
    inwards = torch.tensor([-1.0, 0.0, 0.25, 0.5, 1.0, 3.0]) * FACE_BLEND_M
    points = torch.tensor([0.0, 0.0, 0.07]) + torch.zeros((6, 3))
    points[:, 0] = -0.05 + inwards
    torch.testing.assert_close(two.body_distance(points), torch.tensor([0, 0, 0.25, 0.5, 1, 1]))


def test_the_density_is_at_its_level_on_the_surface(generator):
    field = generator.field(ws_of(generator))
    assert isinstance(field, SignedDistanceField)
    points = space(4000)
    distance, density = field.signed_distance(points), field.density(points)
    assert ((density > field.level) == (distance < 0)).all()
    assert density.min() >= 0 and density.max() <= 2 * field.level
    near = distance.abs() < 2e-5
    torch.testing.assert_close(density[near], torch.full_like(density[near], field.level), rtol=0.01, atol=0)


def test_a_bald_head_is_the_body(generator):
    points = space()
    near = generator.body_distance(points) < 0.02
    field = generator.field(ws_of(generator))
    torch.testing.assert_close(field.signed_distance(points)[near], generator.body_distance(points)[near])


def test_hair_can_only_add_to_the_body(hairy):
    points = space()
    assert (hairy.field(ws_of(hairy)).signed_distance(points) <= hairy.body_distance(points)).all()


def test_the_outer_distance_is_in_units_of_the_decoder():
    plain = small_generator()
    with torch.no_grad():
        plain.decoder.last.weight[0] = 0
        plain.decoder.last.bias[0] = 2.0
    outer, _ = plain.decode(plain.planes(ws_of(plain)), space()[None])
    torch.testing.assert_close(outer, torch.full_like(outer, 2 * OUTER_SCALE_M))


def test_colors_are_mixed_from_the_heads_palette():
    """Without shade and rest, every colour lies between those of the parts."""
    plain = small_generator()
    with torch.no_grad():
        plain.decoder.last.weight[-4:] = 0
        plain.decoder.last.bias[-4:] = 0
        heads = plain.planes(ws_of(plain))
        _, color = plain.decode(heads, space()[None])
    low, high = heads.palette[0].amin(0), heads.palette[0].amax(0)
    assert (color[0] >= low - 1e-6).all() and (color[0] <= high + 1e-6).all()
    alike = torch.full_like(heads.palette, 0.3)
    _, color = plain.decode(type(heads)(heads.planes, alike), space()[None])
    torch.testing.assert_close(color, torch.full_like(color, 0.3))


def test_colors_are_in_range(hairy):
    color = hairy.field(ws_of(hairy)).color(space())
    assert color.min() >= 0 and color.max() <= 1 and color.std() > 0.001


def test_an_offset_moves_the_planes_it_is_added_to(hairy):
    ws = ws_of(hairy)
    offset = torch.randn((1, 3, 4, 16, 16), generator=torch.Generator().manual_seed(5))
    plain, moved = hairy.planes(ws), hairy.planes(ws, offset)
    torch.testing.assert_close(moved.planes, plain.planes + offset)
    torch.testing.assert_close(plain.moved(offset).planes, moved.planes)
    assert torch.equal(moved.palette, plain.palette)


def test_a_field_with_an_offset_of_colors_alone_asks_the_decoder_once_a_question(hairy, monkeypatch):
    offset = torch.randn((1, 3, 4, 16, 16), generator=torch.Generator().manual_seed(6))
    ws, points = ws_of(hairy), space()
    outer, color = hairy.decode(hairy.planes(ws).recolored(offset), points[None])
    field, asked, read = hairy.field(ws, color_offset=offset), [], hairy._read
    monkeypatch.setattr(hairy, "_read", lambda *given: asked.append(1) or read(*given))
    torch.testing.assert_close(field.signed_distance(points), torch.minimum(hairy.body_distance(points), outer[0]))
    torch.testing.assert_close(field.color(points), color[0].clamp(0, 1))
    assert len(asked) == 2


def test_gradients_flow_to_a_plane_offset(hairy):
    offset = torch.zeros((1, 3, 4, 16, 16), requires_grad=True)
    field = hairy.field(ws_of(hairy), offset)
    points = space(200)
    (field.color(points).sum() + 100 * field.signed_distance(points).sum()).backward()
    assert offset.grad is not None and offset.grad.abs().amax((0, 2, 3, 4)).min() > 0


def test_the_palette_comes_from_the_last_row(generator):
    ws = ws_of(generator).clone()
    before = generator.planes(ws).palette
    ws[:, :-1] += 1
    assert torch.equal(generator.planes(ws).palette, before)
    ws[:, -1] += 1
    assert (generator.planes(ws).palette - before).abs().min() > 0


def test_the_lattices_are_no_weights(generator):
    """They are stored beside the networks, in bytes."""
    assert not {"body", "face", "face_box"} & set(generator.state_dict())
