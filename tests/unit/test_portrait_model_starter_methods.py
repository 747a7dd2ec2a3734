# SPDX-License-Identifier: Apache-2.0
"""All inversion methods on the small starter, and what a record keeps of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.config import Settings
from backend.directions import Codes, move
from backend.errors import SettingsError
from backend.inversion import methods
from backend.inversion.budget import Budget
from backend.inversion.invert import FittedPhoto
from backend.inversion.method import Inversion
from backend.inversion.plane_model import tuned_generator
from backend.portrait_model.starter import StarterModel
from backend.portrait_model.starter_methods import StarterEncoders, codes_of, heads_of, invert_by_method
from backend.starter_encoder import EncoderConfig, StarterEncoder
from tests.portraits_of_eggs import CAMERA, portrait_of
from tests.small_starter import EXPRESSIONS, SHAPES, small_starter

OURS = ["mean", "w", "w+", "pti", "spi", "triplanenet"]
NO_ENCODERS = StarterEncoders(None, None)
SEARCHING = ["w", "w+", "pti", "spi"]


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def encoders(starter):
    torch.manual_seed(0)
    config = EncoderConfig(
        z_dim=5, shapes=SHAPES, expressions=len(EXPRESSIONS), plane_channels=4, offset_px=4, size_px=32,
        channels=(8, 8), blocks=(0, 0), hidden=16,
    )  # fmt: skip
    encoder = StarterEncoder(config).eval()
    torch.nn.init.zeros_(encoder.answer.weight)
    torch.nn.init.zeros_(encoder.answer.bias)
    return StarterEncoders(encoder, None)


@pytest.fixture(scope="module")
def photo(starter):
    """A smiling egg in the colours of a description that is no candidate."""
    z = torch.randn((1, 5), generator=torch.Generator().manual_seed(9))
    codes = Codes(np.zeros((1, 1)), np.zeros(SHAPES), np.zeros(len(EXPRESSIONS)))
    return FittedPhoto(*portrait_of(starter, z), CAMERA, codes)


@pytest.fixture(scope="module")
def found(starter, encoders, photo):
    """Each method's codes and losses, made when first asked for."""
    results = {}

    def of(method):
        if method not in results:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(methods, "budget_for", lambda *_, **__: Budget(15, 10, 20))
                settings = Settings(method=method, quality="draft", seed=1)
                (codes,), losses = invert_by_method(starter, encoders, [photo], settings=settings, step=lambda _: None)
            results[method] = codes, losses
        return results[method]

    return of


@pytest.fixture(scope="module")
def model(starter):
    return StarterModel(starter)


def some_points(count=400):
    return (torch.rand((count, 3), generator=torch.Generator().manual_seed(3)) - 0.5) * 0.3


@pytest.mark.parametrize("method", SEARCHING)
def test_a_search_agrees_with_the_photo_more_than_the_average_head(found, method):
    codes, losses = found(method)
    assert 1 > losses["agreement"] > found("mean")[1]["agreement"] > 0
    assert all(np.isfinite(value) for value in losses.values())
    assert codes.ws.shape == found("mean")[0].ws.shape


def test_more_freedom_shows_the_photo_better(found):
    w, w_plus, pti = (found(method)[1]["agreement"] for method in ("w", "w+", "pti"))
    assert w <= w_plus + 0.01 and w_plus < pti


@pytest.mark.parametrize("method", OURS)
def test_shape_and_expression_stay_as_fitted(found, photo, method):
    codes, _ = found(method)
    np.testing.assert_array_equal(codes.shape, photo.codes.shape)
    np.testing.assert_array_equal(codes.expression, photo.codes.expression)


def test_further_photos_keep_their_own_expression(starter, photo, monkeypatch):
    monkeypatch.setattr(methods, "budget_for", lambda *_, **__: Budget(1, 1, 12))
    smiling = replace(photo, codes=replace(photo.codes, expression=np.array([0.0, 0.5, 0.0])))
    settings = Settings(method="w")
    codes, _ = invert_by_method(starter, NO_ENCODERS, [photo, smiling], settings=settings, step=lambda _: None)
    assert [list(one.expression) for one in codes] == [[0, 0, 0], [0, 0.5, 0]]
    np.testing.assert_array_equal(codes[0].ws, codes[1].ws)


def test_tuned_weights_become_codes_that_show_the_same_head(starter):
    """What changes before the planes is a plane offset, what changes behind them is kept: together exact."""
    generator, random = starter.generator, torch.Generator().manual_seed(5)
    tuned = {
        name: 0.05 * torch.randn(value.shape, generator=random)
        for name, value in generator.named_parameters()
        if not name.startswith("mapping")
    }
    ws = generator.map(starter.candidates[2:3])
    fitted = Codes(np.zeros((1, 1)), np.zeros(SHAPES), np.zeros(len(EXPRESSIONS)))
    codes = codes_of(generator, Inversion(ws, tuned=tuned), fitted)
    assert all(name.startswith(("decoder.", "palette.")) for name in codes.tuned)
    expected = tuned_generator(generator, tuned).field(ws)
    field = StarterModel(starter).field(codes)
    points = some_points()
    torch.testing.assert_close(field.signed_distance(points), expected.signed_distance(points), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(field.color(points), expected.color(points), atol=1e-5, rtol=1e-4)
    assert (field.color(points) - generator.field(ws).color(points)).abs().max() > 0.01


@pytest.mark.parametrize("method", ["mean", "w+", "pti"])
def test_a_record_keeps_the_head(found, model, method):
    codes, _ = found(method)
    arrays = model.to_arrays(codes)
    assert {name: array.shape for name, array in arrays.items()}.items() <= model.code_shapes.items()
    again, points = model.from_arrays(arrays), some_points()
    torch.testing.assert_close(model.field(again).color(points), model.field(codes).color(points))
    torch.testing.assert_close(model.field(again).density(points), model.field(codes).density(points))


def test_sliders_go_on_from_a_tuned_head(found, model):
    codes, _ = found("pti")
    assert codes.tuned and codes.plane_offset is not None
    moved = move(codes, model.starter.directions, {"Hair colour": 1.0})
    assert moved.tuned is codes.tuned
    points = some_points()
    assert (model.field(moved).color(points) - model.field(codes).color(points)).abs().max() > 1e-3


def test_the_starter_itself_stays_as_it_is(found, starter):
    found("spi")
    again = small_starter().generator.state_dict()
    for name, value in starter.generator.state_dict().items():
        assert torch.equal(value, again[name]), name


def test_triplanenet_is_the_encoder_s_head(found, starter):
    """An untrained second stage has no offset; the first says the average of what it was trained with."""
    codes, _ = found("triplanenet")
    low, high = starter.candidates.amin(0), starter.candidates.amax(0)
    z = torch.zeros(1, 5).clamp(low, high)
    np.testing.assert_allclose(codes.ws, starter.generator.map(z)[0].numpy(), atol=1e-6)
    assert codes.plane_offset is None


def test_triplanenet_without_an_encoder_says_so(starter, photo):
    with pytest.raises(SettingsError, match="needs an encoder") as caught:
        invert_by_method(starter, NO_ENCODERS, [photo], settings=Settings(method="triplanenet"), step=lambda _: None)
    assert caught.value.code == "no_encoder"


def test_heads_are_those_of_the_fitted_body(starter, photo):
    head = heads_of(starter, replace(photo.codes, shape=np.ones(SHAPES))).head(
        starter.generator.map(starter.candidates[:1])
    )
    skin = torch.from_numpy(starter.template.vertices).float()[None]
    offsets = torch.from_numpy(starter.template.offsets(np.ones(SHAPES), photo.codes.expression)).float()
    assert (head.to_world(skin)[0] - skin[0] - offsets).norm(dim=1).median() < 0.0005
