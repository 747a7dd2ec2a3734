# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from backend.evaluation.image_metrics import (
    SCALE_WEIGHTS,
    STABLE_LUMINANCE,
    cut_out,
    gmsd,
    ms_ssim,
    mse,
    outline,
    psnr,
    ssim,
)


def photo(size=64, seed=0):
    """Smooth blobs with some grain, inside 0.2 to 0.8."""
    random = np.random.default_rng(seed)
    blobs = gaussian_filter(random.normal(size=(size, size, 3)), (4, 4, 0))
    blobs += 0.1 * random.normal(size=blobs.shape)
    return 0.2 + 0.6 * (blobs - blobs.min()) / np.ptp(blobs)


def luminance_similarity(first, second):
    return (2 * first * second + STABLE_LUMINANCE) / (first**2 + second**2 + STABLE_LUMINANCE)


def test_a_tenth_of_difference_is_20_db():
    assert mse(photo(), photo() + 0.1) == pytest.approx(0.01)
    assert psnr(photo(), photo() + 0.1) == pytest.approx(20)


def test_noise_has_the_psnr_of_its_variance():
    noise = np.random.default_rng(1).normal(0, 0.05, (200, 200, 3))
    assert psnr(np.full(noise.shape, 0.5), 0.5 + noise) == pytest.approx(-20 * math.log10(0.05), abs=0.05)


def test_equal_pictures_are_as_alike_as_can_be():
    assert psnr(photo(), photo()) == math.inf
    assert ssim(photo(), photo()) == pytest.approx(1)
    assert ms_ssim(photo(), photo()) == pytest.approx(1)
    assert gmsd(photo(), photo()) == 0


def test_only_the_chosen_pixels_count():
    first, second, where = photo(), photo(), np.zeros((64, 64), bool)
    second[:, :32] += 0.3
    where[:, 30:34] = True
    assert mse(first, second, where) == pytest.approx(0.09 / 2)
    assert math.isnan(psnr(first, second, np.zeros((64, 64), bool)))


def test_structure_counts_in_the_windows_around_the_chosen_pixels_alone():
    first, second, where = photo(), photo(), np.zeros((64, 64), bool)
    second[:, :20] = 0
    where[:, 40:] = True
    assert ssim(first, second) < 0.8
    assert ssim(first, second, where) == pytest.approx(1)
    assert ssim(first, second, ~where) < ssim(first, second)
    assert math.isnan(ssim(first, second, np.zeros((64, 64), bool)))


def test_a_region_is_cut_out_with_grey_around_it():
    picture, where = photo(), np.zeros((64, 64), bool)
    where[10:30, 20:25] = where[12, 40] = True
    alone = cut_out(picture, where)
    assert alone.shape == (20, 21, 3)
    np.testing.assert_array_equal(alone[2, 0], picture[12, 20])
    np.testing.assert_array_equal(alone[2, 20], picture[12, 40])
    assert (alone[3, 5:] == 0.5).all()


def test_plain_grey_pictures_differ_in_luminance_alone():
    first, second = np.full((176, 176, 3), 0.3), np.full((176, 176, 3), 0.6)
    assert ssim(first, second) == pytest.approx(luminance_similarity(0.3, 0.6))
    weight = SCALE_WEIGHTS[-1] / sum(SCALE_WEIGHTS)
    assert ms_ssim(first, second) == pytest.approx(luminance_similarity(0.3, 0.6) ** weight)


def test_one_scale_of_the_multi_scale_measure_is_the_plain_one():
    first, second = photo(20), photo(20, seed=3)
    assert ms_ssim(first, second) == pytest.approx(ssim(first, second), abs=1e-6)


def test_gradient_similarity_ignores_brightness_and_grows_with_blur():
    picture = photo()
    assert gmsd(picture, picture + 0.1) == pytest.approx(0, abs=1e-9)
    blurs = [gmsd(picture, gaussian_filter(picture, (sigma, sigma, 0))) for sigma in (0.5, 1, 3)]
    assert 0 < blurs[0] < blurs[1] < blurs[2]


def test_the_outline_of_a_square_is_a_band_on_both_sides():
    inside = np.zeros((10, 10), bool)
    inside[3:7, 3:7] = True
    band = outline(inside, 1)
    assert band.sum() == 16 + 12
    assert not band[4:6, 4:6].any()


def test_a_picture_cut_by_its_border_has_no_outline_there():
    inside = np.zeros((10, 10), bool)
    inside[5:] = True
    assert outline(inside, 1).any(axis=1).nonzero()[0].tolist() == [4, 5]
