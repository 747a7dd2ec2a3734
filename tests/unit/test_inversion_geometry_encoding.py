# SPDX-License-Identifier: Apache-2.0
"""E3DGE on the starter: one pass, detail in colours alone, and edits that carry the detail along."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from backend.config import Settings
from backend.directions import Codes, move
from backend.e3dge import DetailBranch, GeometryEncoder
from backend.errors import SettingsError
from backend.inversion.cameras import cameras_of
from backend.inversion.geometry_encoding import SIZE_PX, geometry_encoder, seen_by
from backend.inversion.invert import FittedPhoto
from backend.inversion.lifting import encode_portrait
from backend.inversion.method import PosedPortrait
from backend.mesh import Mesh
from backend.portrait_model.published import PublishedModel
from backend.portrait_model.starter import StarterModel
from backend.portrait_model.starter_methods import StarterEncoders, heads_of, invert_by_method
from backend.starter_encoder import EncoderConfig
from tests.portraits_of_eggs import CAMERA, portrait_of
from tests.small_starter import EXPRESSIONS, SHAPES, front_points, small_starter

FITTED = Codes(np.zeros((1, 1)), np.zeros(SHAPES), np.zeros(len(EXPRESSIONS)))


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def photo(starter):
    z = torch.randn((1, 5), generator=torch.Generator().manual_seed(9))
    return FittedPhoto(*portrait_of(starter, z), CAMERA, FITTED)


@pytest.fixture(scope="module")
def encoder():
    """Untrained but for a detail that can be seen."""
    torch.manual_seed(0)
    config = EncoderConfig(
        z_dim=5, shapes=SHAPES, expressions=len(EXPRESSIONS), plane_channels=4, offset_px=4, size_px=32,
        channels=(8, 8), blocks=(0, 0), hidden=16,
    )  # fmt: skip
    made = GeometryEncoder(config, plane_px=16).eval()
    nn.init.normal_(made.detail.planes.leave.weight, std=1.0)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def codes(starter, photo, encoder):
    (found,), losses = invert_by_method(
        starter, StarterEncoders(None, encoder), [photo], settings=Settings(method="e3dge"), step=lambda _: None
    )
    assert 0 < losses["agreement"] <= 1
    return found


@pytest.fixture(scope="module")
def model(starter):
    return StarterModel(starter)


def plain(codes):
    return Codes(codes.ws, codes.shape, codes.expression)


def front():
    return torch.from_numpy(front_points(300)).float()


def detail(model, codes):
    """What the offset does to the colours of the face."""
    return model.field(codes).color(front()) - model.field(plain(codes)).color(front())


def test_the_detail_changes_colours_and_no_distance(model, codes):
    assert codes.color_offset is not None and codes.plane_offset is None
    points = front() * 1.1
    assert torch.equal(model.field(codes).signed_distance(points), model.field(plain(codes)).signed_distance(points))
    assert float(detail(model, codes).abs().max()) > 0.01


def test_the_codes_are_those_that_the_global_stage_tells(starter, codes, encoder, photo):
    low, high = starter.candidates.amin(0), starter.candidates.amax(0)
    told = encode_portrait(encoder.codes, photo.portrait, photo.mask).means["z"].clamp(low, high)
    np.testing.assert_allclose(codes.ws, starter.generator.map(told)[0], atol=1e-5)
    np.testing.assert_array_equal(codes.shape, FITTED.shape)


def test_edits_of_shape_and_expression_carry_the_detail_along(starter, model, codes):
    """The detail belongs to places of the head: those move, what is seen there stays."""
    edited = move(codes, starter.directions, {"Jaw width": 1.5, "Smile": 0.8})
    torch.testing.assert_close(detail(model, edited), detail(model, codes))
    surface = Mesh(front_points(300).astype(np.float32), np.zeros((0, 3), np.int64))
    mesh = model.bind(surface, codes)
    assert np.linalg.norm(mesh.vertices(edited) - mesh.vertices(codes), axis=1).max() > 0.002


def test_edits_of_the_appearance_keep_the_detail_s_pattern(starter, model, codes):
    before = detail(model, codes)
    after = detail(model, move(codes, starter.directions, {"Hair colour": 0.3}))
    assert float(nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0)) > 0.8


def test_a_record_keeps_the_detail(model, codes):
    arrays = model.to_arrays(codes)
    assert {name: array.shape for name, array in arrays.items()}.items() <= model.code_shapes.items()
    assert "color_offset" in arrays and "plane_offset" not in arrays
    again = model.from_arrays(arrays)
    torch.testing.assert_close(model.field(again).color(front()), model.field(codes).color(front()))
    assert "color_offset" not in model.to_arrays(plain(codes))


def test_a_photo_of_the_very_head_leaves_no_residual(starter, photo):
    z = torch.randn((1, 5), generator=torch.Generator().manual_seed(9))
    heads = heads_of(starter, FITTED)
    # The photo shows the canonical egg; the fitted head's space differs by the template's small moves.
    head = heads.head(starter.generator.map(z))
    portrait = PosedPortrait(photo.portrait.image, photo.mask, photo.portrait.coverage, cameras_of(CAMERA))
    seen = seen_by(head, portrait)
    shown = seen.shown[0, 0] > 0
    assert seen.photo.shape[-1] == SIZE_PX and 0.2 < float(shown.float().mean()) < 0.98
    residual = (seen.photo - seen.first).abs().mean(1)[0][shown]
    assert float(residual.median()) < 0.03
    assert float(seen.depth[0, 0][shown].abs().max()) < 0.15
    # What is seen lies on the egg.
    places = seen.points[0].permute(1, 2, 0)[shown]
    assert float(starter.generator.body_distance(places).abs().median()) < 0.001


@torch.no_grad()
def test_the_photo_chooses_the_hair_style(starter):
    generator = deepcopy(starter.generator)
    generator.config = replace(generator.config, choices=((0, 3),))
    heads = heads_of(replace(starter, generator=generator), FITTED)
    true, told = (torch.tensor([[*style, 0.3, -0.2]]) for style in ((0, 2.5, 0), (1.1, 0.2, 0.9)))
    cameras = cameras_of(CAMERA)
    picture = heads.head(generator.map(true)).render(cameras, size_px=48)
    portrait = PosedPortrait(picture.image, picture.opacity, torch.ones_like(picture.opacity), cameras)
    branch = DetailBranch(channels=4, side_px=8)
    start = geometry_encoder(told, branch, chosen=2.5)(heads, portrait)
    torch.testing.assert_close(start.ws, generator.map(true))


def test_without_an_encoder_it_says_so(starter, photo):
    with pytest.raises(SettingsError, match="geometry-aware encoder") as caught:
        invert_by_method(
            starter, StarterEncoders(None, None), [photo], settings=Settings(method="e3dge"), step=lambda _: None
        )
    assert caught.value.code == "no_encoder"


def test_published_models_do_not_offer_it():
    assert "e3dge" not in PublishedModel.methods and "e3dge" in StarterModel.methods
