# SPDX-License-Identifier: Apache-2.0
"""Facts about all methods, on a small untrained generator."""

from dataclasses import replace

import pytest
import torch

from backend.errors import Cancelled, SettingsError
from backend.inversion import methods
from backend.inversion.budget import Budget
from backend.inversion.method import Start, Task
from backend.inversion.methods import METHODS, invert
from backend.inversion.plane_model import tuned_generator
from backend.inversion.tuning import NONE, Auxiliary, tune
from tests.small_planes import portrait_of, small_model

SHORT = Budget(8, 6, 16)
SEARCHING = ["w", "w+", "pti", "spi", "protome"]


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def portrait(model):
    return portrait_of(model, yaw_deg=35)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(methods, "budget_for", lambda *_, **__: SHORT)


def run(method, model, portrait, *, seed=0, step=lambda done: None, **known):
    return invert(method, model, [portrait], quality="draft", seed=seed, step=step, **known)


def encoder(model, _portrait):
    """Stands for a trained one."""
    ws = model.mean_ws + 0.3
    return Start(ws, 0.1 * torch.ones_like(model.head(ws).planes))


def shown(model, inversion, portrait):
    """Mean difference between the portrait and the inversion as it would be shown later."""
    generator = tuned_generator(model.network, inversion.tuned or {})
    planes = generator.make_planes(inversion.ws)
    if inversion.plane_offset is not None:
        planes = planes + inversion.plane_offset
    cameras = portrait.cameras
    rendering = generator.render(planes, cameras.cam2world, cameras.intrinsics, size_px=model.size_px)
    return float((generator.view(inversion.ws, rendering).image - portrait.image).abs().mean())


@pytest.fixture(scope="module")
def found(model, portrait):
    """Each method's result, made when first asked for, and the progress that it told."""
    results = {}

    def of(method):
        if method not in results:
            told = []
            results[method] = run(method, model, portrait, step=told.append), told
        return results[method]

    return of


@pytest.mark.parametrize("method", SEARCHING)
def test_each_method_shows_the_portrait_better_than_the_average_head(model, portrait, found, method):
    before, (after, told) = run("mean", model, portrait), found(method)
    assert shown(model, after, portrait) < 0.95 * shown(model, before, portrait)
    assert 1 >= after.agreement > before.agreement > 0
    assert all(isinstance(value, float) for value in after.losses.values())
    assert told == sorted(told) and told[-1] == pytest.approx(1)


def test_tuning_shows_it_better_than_codes_alone(model, portrait, found):
    assert shown(model, found("pti")[0], portrait) < shown(model, found("w+")[0], portrait)


@pytest.mark.parametrize("method", METHODS)
def test_the_given_model_stays_as_it_is(model, portrait, method):
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    run(method, model, portrait, encoder=encoder)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize("method", ["spi", "protome"])
def test_a_seed_repeats_itself(model, portrait, found, method):
    first, again, other = found(method)[0], run(method, model, portrait), run(method, model, portrait, seed=2)
    assert torch.equal(first.ws, again.ws)
    assert first.losses == again.losses
    assert not torch.equal(first.ws, other.ws)


@pytest.mark.parametrize("method", ["w+", "spi", "protome"])
def test_background_has_no_say(model, portrait, method):
    mask = torch.zeros_like(portrait.mask)
    mask[..., 8:24, 8:24] = 1
    masked = replace(portrait, mask=mask)
    other = replace(masked, image=torch.where(mask > 0, portrait.image, torch.rand_like(portrait.image)))
    first, second = run(method, model, masked), run(method, model, other)
    torch.testing.assert_close(first.ws, second.ws)
    assert first.losses == pytest.approx(second.losses)
    if first.plane_offset is not None:
        torch.testing.assert_close(first.plane_offset, second.plane_offset)


@pytest.mark.parametrize("method", ["w+", "pti", "protome"])
def test_cancelling_comes_through_at_once(model, portrait, method):
    told = []

    def cancel(done):
        told.append(done)
        if done > 0.7:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        run(method, model, portrait, step=cancel)
    assert told[-2] <= 0.7 < told[-1]


def test_w_has_one_code_for_all_layers(found):
    ws = found("w")[0].ws
    assert torch.equal(ws, ws[:, :1].expand_as(ws))
    ws = found("w+")[0].ws
    assert not torch.equal(ws[:, 0], ws[:, 1])


def task_of(model, portrait):
    return Task(model, [portrait], SHORT, torch.Generator().manual_seed(0))


def test_spi_without_its_priors_is_pti(model, portrait, found):
    pti = found("pti")[0]
    without = tune(task_of(model, portrait), Auxiliary(0.0, 0.0, 0.0, 0.0))
    assert torch.equal(pti.ws, without.ws)
    assert pti.tuned.keys() == without.tuned.keys()
    assert all(torch.equal(pti.tuned[name], without.tuned[name]) for name in pti.tuned)


def test_spi_uses_the_mirrored_portrait_for_turned_heads_only(model, found):
    assert "mirror" in found("spi")[0].losses
    frontal = task_of(model, portrait_of(model, yaw_deg=0))
    with_mirror, without = tune(frontal, Auxiliary(adjacent=0, shape=0)), tune(frontal, NONE)
    assert "mirror" not in with_mirror.losses
    assert with_mirror.tuned.keys() == without.tuned.keys()


def test_a_shape_that_must_stay_moves_less(model, portrait):
    """The depth seen from the side before and after the second stage."""
    side = portrait.cameras.turned(torch.tensor([-0.9]), torch.tensor([0.0]))

    def depth(task, auxiliary):
        found = tune(task, auxiliary)
        generator = tuned_generator(model.network, found.tuned)
        return generator.render(generator.make_planes(found.ws), side.cam2world, side.intrinsics, size_px=16).depth

    def moved(auxiliary):
        budgets = (Budget(2, steps, 16) for steps in (0, 24))
        before, after = (depth(replace(task_of(model, portrait), budget=budget), auxiliary) for budget in budgets)
        return float((after - before).abs().mean())

    assert moved(Auxiliary(mirror=0.0, adjacent=0.0, mirrored=0.0, shape=1000.0)) < 0.7 * moved(NONE)


def test_the_encoder_gives_triplanenet_its_result_and_protome_its_start(model, portrait):
    expected = encoder(model, portrait)
    found = run("triplanenet", model, portrait, encoder=encoder)
    assert torch.equal(found.ws, expected.ws) and torch.equal(found.plane_offset, expected.plane_offset)
    refined = run("protome", model, portrait, encoder=encoder)
    assert torch.equal(refined.ws, expected.ws)
    assert shown(model, refined, portrait) < shown(model, found, portrait)


def test_triplanenet_without_an_encoder_says_so(model, portrait):
    with pytest.raises(SettingsError, match="encoder") as caught:
        run("triplanenet", model, portrait)
    assert caught.value.code == "no_encoder"


def test_an_unknown_method_is_named_with_the_known_ones(model, portrait):
    with pytest.raises(SettingsError, match=r"magic.*spi"):
        run("magic", model, portrait)


def test_known_codes_are_the_start(model, portrait):
    start = Start(model.mean_ws + 1.0)
    assert torch.equal(run("mean", model, portrait, start=start).ws, start.ws)


@pytest.mark.parametrize("method", ["w+", "protome"])
def test_two_portraits_are_both_shown(model, method, monkeypatch):
    monkeypatch.setattr(methods, "budget_for", lambda *_, **__: Budget(30, 15, 16))
    pair = [portrait_of(model, yaw_deg=-30), portrait_of(model, yaw_deg=30)]

    def missed(portraits):
        found = invert(method, model, portraits, quality="draft", seed=0, step=lambda done: None, encoder=encoder)
        return shown(model, found, pair[1])

    assert missed(pair) < missed(pair[:1])
