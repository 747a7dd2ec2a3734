# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from backend.errors import Cancelled, ModelError
from backend.inversion.descent import Descent, descend, ramped, steady


def parabola(x):
    return lambda number: {"photo": (x - 3).square().sum()}


def silent(done):
    del done


def test_the_minimum_is_found():
    x = torch.zeros(2, requires_grad=True)
    terms = descend([x], parabola(x), Descent(200, steady(0.1)), step=silent)
    torch.testing.assert_close(x.detach(), torch.full((2,), 3.0), atol=1e-2, rtol=0)
    assert terms["photo"] < 1e-3


def test_the_ramp_starts_at_0_stays_and_ends_at_0():
    rate = ramped(0.1)
    assert rate(0.0) == 0
    assert rate(0.025) == pytest.approx(0.05)
    assert rate(0.05) == rate(0.5) == rate(0.75) == pytest.approx(0.1)
    assert rate(0.875) == pytest.approx(0.05)
    assert rate(1.0) == pytest.approx(0)


def test_the_best_iterate_is_kept_when_later_ones_are_worse():
    x = torch.zeros(1, requires_grad=True)
    seen = []

    def objective(number):
        seen.append(x.item())
        return {"photo": (x - 3).square().sum()}

    terms = descend([x], objective, Descent(12, lambda done: 0.5 if done < 0.5 else 40.0), step=silent)
    best = min(seen, key=lambda value: abs(value - 3))
    assert seen[-1] != best
    assert x.item() == best
    assert terms["photo"] == pytest.approx((best - 3) ** 2)


def test_only_the_named_terms_judge():
    x = torch.zeros(1, requires_grad=True)

    def objective(number):
        return {"photo": (x - 3).square().sum(), "noise": torch.tensor(100.0 * number)}

    descend([x], objective, Descent(60, steady(0.1), judged_by=("photo",)), step=silent)
    assert abs(x.item() - 3) < 0.3


def test_a_loss_that_is_no_number_ends_the_descent_at_the_best_iterate():
    x = torch.zeros(1, requires_grad=True)
    steps = []

    def objective(number):
        return {"photo": (x - 3).square().sum() * (math.nan if number == 5 else 1)}

    terms = descend([x], objective, Descent(50, steady(0.1)), step=steps.append)
    assert len(steps) == 5
    assert x.isfinite().all() and math.isfinite(terms["photo"])


def test_a_first_loss_that_is_no_number_is_the_models_fault():
    x = torch.zeros(1, requires_grad=True)
    with pytest.raises(ModelError, match="not numbers"):
        descend([x], lambda number: {"photo": x.sum() * math.nan}, Descent(5, steady(0.1)), step=silent)


def test_it_ends_when_nothing_is_gained():
    x = torch.full((1,), 3.0, requires_grad=True)
    steps = []
    descend([x], parabola(x), Descent(100, steady(0.0), patience=4), step=steps.append)
    assert len(steps) == 6


def test_cancelling_comes_through_at_once():
    x = torch.zeros(1, requires_grad=True)
    calls = []

    def cancel(done):
        calls.append(done)
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        descend([x], parabola(x), Descent(100, steady(0.1)), step=cancel)
    assert calls == [0.01]


def test_progress_rises_to_1():
    x = torch.zeros(1, requires_grad=True)
    told = []
    descend([x], parabola(x), Descent(4, steady(0.1)), step=told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]
