# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.training.augment import (
    blur,
    color_cast,
    contrast,
    degrade,
    jpeg,
    low_resolution,
    occlude,
    sensor_noise,
)

SIZE = 64


@pytest.fixture
def photo():
    """Smooth colours with a sharp edge."""
    x, y = np.meshgrid(np.linspace(40, 200, SIZE), np.linspace(60, 180, SIZE))
    picture = np.stack([x, y, np.where(x > 120, 170, 80)], axis=-1)
    return np.rint(picture).astype(np.uint8)


def test_neutral_settings_change_nothing(photo):
    np.testing.assert_array_equal(color_cast(photo, np.ones(3)), photo)
    np.testing.assert_array_equal(contrast(photo, 1.0, 1.0), photo)
    np.testing.assert_array_equal(sensor_noise(photo, np.random.default_rng(0), shot=0.0, read=0.0), photo)
    np.testing.assert_array_equal(low_resolution(photo, SIZE), photo)


def test_a_stop_doubles_the_linear_light():
    grey = np.full((4, 4, 3), 100, np.uint8)
    # sRGB 100 is 0.1274 of linear light; 0.2549 is sRGB 138.
    np.testing.assert_array_equal(np.unique(color_cast(grey, np.ones(3), 1.0)), [138])
    red = color_cast(grey, np.array([2.0, 1.0, 1.0]))[0, 0]
    np.testing.assert_array_equal(red, [138, 100, 100])


def test_no_saturation_leaves_grey_of_the_same_brightness(photo):
    grey = contrast(photo, 1.0, 0.0).astype(float)
    assert np.ptp(grey, axis=2).max() == 0
    np.testing.assert_allclose(grey[..., 0], photo @ [0.2126, 0.7152, 0.0722], atol=1)


def test_blur_and_low_resolution_keep_the_mean_and_soften_the_edge(photo):
    for soft in (blur(photo, 2.0), low_resolution(photo, 16)):
        assert soft.mean() == pytest.approx(photo.mean(), abs=1)
        assert np.abs(np.diff(soft[..., 2].astype(int), axis=1)).max() < 0.6 * 90


def test_shot_noise_grows_with_the_light_and_read_noise_does_not():
    def spread(value, **noise):
        flat = np.full((SIZE, SIZE, 3), value, np.uint8)
        linear = (sensor_noise(flat, np.random.default_rng(0), **noise) / 255.0) ** 2.2
        return linear.std()

    assert spread(200, shot=0.05, read=0.0) > 1.8 * spread(90, shot=0.05, read=0.0)
    assert spread(200, shot=0.0, read=0.02) == pytest.approx(spread(120, shot=0.0, read=0.02), rel=0.15)


def test_jpeg_is_close_at_high_and_coarse_at_low_quality(photo):
    fine, coarse = (np.abs(jpeg(photo, quality).astype(int) - photo).mean() for quality in (95, 5))
    assert fine < 2 < coarse


def test_an_occluder_covers_about_its_share_and_nothing_else(photo):
    for seed in range(10):
        covered = (occlude(photo, np.random.default_rng(seed), 0.05) != photo).any(axis=2).mean()
        assert 0.005 < covered < 0.08


def test_degraded_photos_repeat_keep_their_size_and_differ(photo):
    first, again = (degrade(photo, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    results = [degrade(photo, np.random.default_rng(seed)) for seed in range(12)]
    assert all(result.shape == photo.shape and result.dtype == np.uint8 for result in results)
    assert sum((result != photo).any() for result in results) >= 10
