# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.training.noise import _hash, layered_noise, value_noise


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-20, 20, (5000, 3))


def hash_of(x, y, z, seed):
    """The lattice value by plain Python integers."""
    mask = 0xFFFFFFFF
    key = (x * 73856093 & mask) ^ (y * 19349663 & mask) ^ (z * 83492791 & mask) ^ (seed * 2654435761 & mask)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        key = (key ^ (key >> shift)) * factor & mask
    return (key ^ (key >> 16)) / 2**31 - 1


def test_noise_at_lattice_points_is_the_hash_of_their_integers():
    corners = np.array([[0, 0, 0], [3, -7, 12], [-1, -1, -1], [100, 5, -40]])
    expected = [hash_of(*corner.tolist(), seed=5) for corner in corners]
    np.testing.assert_allclose(value_noise(corners.astype(float), 5), expected, atol=1e-6)


def test_noise_half_way_along_an_edge_is_the_mean_of_its_ends():
    ends = value_noise(np.array([[2.0, 4.0, 6.0], [3.0, 4.0, 6.0]]), 1)
    middle = value_noise(np.array([[2.5, 4.0, 6.0]]), 1)
    np.testing.assert_allclose(middle, ends.mean(keepdims=True), atol=1e-6)


@pytest.mark.parametrize("noise", [value_noise, lambda points, seed: layered_noise(points, 3, seed)])
def test_noise_stays_in_range_and_is_centred(noise, points):
    values = noise(points, 3)
    assert np.abs(values).max() <= 1
    assert abs(values.mean()) < 0.03
    assert values.std() > 0.2


def test_noise_is_continuous(points):
    step = 1e-4
    change = np.abs(value_noise(points + step) - value_noise(points))
    # Steepest: 3 axes, slope 1.5 of the blend, values 2 apart.
    assert change.max() < 3 * 1.5 * 2 * step * 1.1


def test_seeds_are_unrelated(points):
    assert abs(np.corrcoef(value_noise(points, 1), value_noise(points, 2))[0, 1]) < 0.05


def test_hash_covers_its_range_evenly():
    values = _hash(np.arange(100_000, dtype=np.uint32))
    assert np.histogram(values, bins=10, range=(-1, 1))[0].min() > 9_500
