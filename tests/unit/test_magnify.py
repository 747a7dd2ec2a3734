# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.config import Focus
from backend.magnify import lattice_ticks, magnify, unmagnify

FOCUSES = (Focus((0.3, 0.0, 0.1), reach=0.1, gain=20.0), Focus((-0.3, 0.2, 0.0), reach=0.2, gain=3.0))


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-1, 1, size=(500, 3))


def test_unmagnify_undoes_magnify(points):
    start = points + np.random.default_rng(1).normal(scale=0.01, size=points.shape)
    np.testing.assert_allclose(unmagnify(magnify(points, FOCUSES), FOCUSES, start), points, atol=1e-9)


def test_without_focus_nothing_moves(points):
    np.testing.assert_array_equal(magnify(points, ()), points)
    np.testing.assert_array_equal(unmagnify(points, (), points + 1), points)


def test_lengths_grow_by_the_gain_at_the_centre_and_by_half_of_it_at_the_reach():
    focus = FOCUSES[0]
    for arm, gain in ((0.0, 20.0), (0.1, 10.0)):
        ends = np.array(focus.centre) + np.array([[arm - 1e-5, 0, 0], [arm + 1e-5, 0, 0]])
        moved = magnify(ends, [focus])
        np.testing.assert_allclose((moved[1, 0] - moved[0, 0]) / 2e-5, 1 + gain, rtol=1e-3)


def test_no_way_gets_shorter_and_none_turns_back(points):
    ways, moved = np.diff(points, axis=0), np.diff(magnify(points, FOCUSES), axis=0)
    assert ((ways * moved).sum(axis=1) >= (ways**2).sum(axis=1) * (1 - 1e-9)).all()


def test_ticks_are_even_without_focus():
    for ticks in lattice_ticks(2.0, 9, None):
        np.testing.assert_allclose(ticks, np.linspace(-1, 1, 9))


def test_ticks_reach_from_wall_to_wall_and_crowd_at_the_focus():
    focus = Focus((0.0, -0.5, 0.4), reach=0.1, gain=3.0)
    for ticks, middle in zip(lattice_ticks(2.0, 129, focus), focus.centre, strict=True):
        np.testing.assert_allclose(ticks[[0, -1]], [-1, 1])
        spacing = np.diff(ticks)
        assert abs(ticks[spacing.argmin()] - middle) < 0.03
        assert spacing.max() / spacing.min() == pytest.approx(4.0, rel=0.1)
