# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.training import backdrop
from backend.training.backdrop import SHARE, over_backdrop, sample_backdrop


def test_a_backdrop_has_its_size_and_repeats():
    first, again, other = (sample_backdrop(np.random.default_rng(seed), 50) for seed in (1, 1, 2))
    assert first.shape == (50, 50, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("kind", SHARE)
def test_every_kind_is_out_of_focus_and_its_own(kind, monkeypatch):
    monkeypatch.setattr(backdrop, "SHARE", {name: float(name == kind) for name in SHARE})
    pictures = [sample_backdrop(np.random.default_rng(seed), 192).astype(float) for seed in range(8)]
    assert np.std([picture.mean() for picture in pictures]) > 3
    for picture in pictures:
        # Neighbouring pixels at twice the painted size hardly differ.
        assert np.abs(np.diff(picture, axis=1)).mean() < 6


def test_alpha_decides_between_picture_and_backdrop():
    rgba = np.zeros((3, 3, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, (0, 255, 51)
    result = over_backdrop(rgba, np.full((3, 3, 3), 100, np.uint8))
    np.testing.assert_array_equal(result[1, :, 0], [100, 200, 120])
    np.testing.assert_array_equal(result[1, :, 1], [100, 0, 80])
