# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.packing import pack_strip


@pytest.mark.parametrize("seed", range(5))
def test_rectangles_lie_in_the_strip_and_keep_their_distance(seed):
    sizes = np.random.default_rng(seed).uniform(0.01, 0.3, (40, 2))
    places, height = pack_strip(sizes, width=1.0, gap=0.02)
    low, high = places, places + sizes
    assert low.min() >= 0
    assert high[:, 0].max() <= 1.0
    assert high[:, 1].max() == pytest.approx(height)
    for index in range(40):
        others = np.arange(40) != index
        beside = (low[others] >= high[index] + 0.02 - 1e-9) | (high[others] <= low[index] - 0.02 + 1e-9)
        assert beside.any(axis=1).all()


def test_equal_squares_fill_the_strip():
    _, height = pack_strip(np.full((20, 2), 0.25), width=1.0, gap=0.0)
    assert height == pytest.approx(5 * 0.25)


def test_what_is_wider_than_the_strip_does_not_fit():
    assert pack_strip(np.array([[1.1, 0.1]]), width=1.0, gap=0.0) is None


def test_nothing_needs_no_room():
    places, height = pack_strip(np.zeros((0, 2)), width=1.0, gap=0.1)
    assert (places.shape, height) == ((0, 2), 0.0)
