# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import numpy as np
import pytest

from backend.training.paint import bump, curve_at, mix, ramp, scale, smooth_step, spot, stroke_distance


def test_smooth_step_runs_from_0_to_1_and_backwards_for_a_falling_edge():
    places = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    np.testing.assert_allclose(smooth_step(places, 0.0, 1.0), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smooth_step(places, 1.0, 0.0), [1, 1, 0.5, 0, 0])


def test_bump_and_spot_fall_by_one_standard_deviation():
    np.testing.assert_allclose(bump(np.array([3.0, 3.5]), 3.0, 0.5), [1, np.exp(-0.5)])
    points = np.array([[1.0, 2.0, 3.0], [1.0, 2.2, 3.0], [1.0, 2.0, 3.4]])
    np.testing.assert_allclose(spot(points, (1, 2, 3), (0.1, 0.2, 0.4)), [1, np.exp(-0.5), np.exp(-0.5)])


def test_curve_is_straight_between_knots_and_level_beyond():
    curve = ((0.0, 1.0), (2.0, 3.0))
    np.testing.assert_allclose(curve_at(np.array([-1.0, 1.0, 5.0]), curve), [1, 2, 3])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_stroke_distance_matches_dense_sampling(dimensions):
    rng = np.random.default_rng(dimensions)
    knots = rng.uniform(-1, 1, (5, dimensions))
    points = rng.uniform(-1.5, 1.5, (200, dimensions))
    distance, place = stroke_distance(points, knots.tolist())
    shares = np.linspace(0, 1, 4001)[:, None]
    dense = np.concatenate([a + shares * (b - a) for a, b in pairwise(knots)])
    steps = np.linalg.norm(np.diff(dense, axis=0), axis=1)
    passed = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    gaps = np.linalg.norm(points[:, None] - dense, axis=2)
    np.testing.assert_allclose(distance, gaps.min(1), atol=1e-3)
    # Where two places are equally near, either is right.
    there = np.array([np.interp(place, passed, dense[:, axis]) for axis in range(dimensions)]).T
    np.testing.assert_allclose(np.linalg.norm(points - there, axis=1), distance, atol=2e-3)


def test_layers_reach_their_limits():
    color = np.array([[0.2, 0.4, 0.6]] * 3)
    amount = np.array([0.0, 0.5, 2.0])
    np.testing.assert_allclose(mix(color, np.ones(3), amount), [[0.2, 0.4, 0.6], [0.6, 0.7, 0.8], [1, 1, 1]])
    np.testing.assert_allclose(scale(color, (0.5, 1, 1), amount[:2].repeat([2, 1]))[:, 0], [0.2, 0.2, 0.15])


def test_ramp_goes_through_its_stops():
    stops = ((0.0, (0.0, 0.0, 1.0)), (1.0, (1.0, 0.0, 0.0)))
    np.testing.assert_allclose(ramp(0.25, stops), [0.25, 0, 0.75])
    np.testing.assert_allclose(ramp(7.0, stops), [1, 0, 0])
