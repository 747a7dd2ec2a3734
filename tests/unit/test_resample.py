# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from backend.resample import sample_square, square_matrix, transform


def noise(height=20, width=30):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_pixels(image):
    return (image[0].permute(1, 2, 0).numpy() + 1) * 127.5


def test_a_crop_on_whole_pixels_copies_them():
    matrix = square_matrix(np.array([14.0, 9.0]), 8.0, roll_deg=0, size_px=8)
    np.testing.assert_allclose(
        as_pixels(sample_square(noise(), matrix, 8, extend=True)), noise()[5:13, 10:18], atol=1e-3
    )


@pytest.mark.parametrize(("roll_deg", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_a_turned_crop_turns_the_pixels(roll_deg, turns):
    matrix = square_matrix(np.array([14.0, 9.0]), 8.0, roll_deg=roll_deg, size_px=8)
    crop = as_pixels(sample_square(noise(), matrix, 8, extend=True))
    np.testing.assert_allclose(crop, np.rot90(noise()[5:13, 10:18], turns), atol=1e-3)


def test_the_square_has_its_centre_side_and_turn():
    matrix = square_matrix(np.array([7.0, 3.0]), 4.0, roll_deg=30, size_px=16)
    corners = transform(matrix, np.array([[8.0, 8.0], [0.0, 0.0], [16.0, 0.0]]))
    np.testing.assert_allclose(corners[0], [7, 3])
    np.testing.assert_allclose(corners[2] - corners[1], 4 * np.array([np.cos(np.pi / 6), 0.5]))


def test_shrinking_averages():
    matrix = square_matrix(np.array([8.0, 8.0]), 16.0, roll_deg=0, size_px=4)
    crop = as_pixels(sample_square(noise()[:16, :16], matrix, 4, extend=True))
    blocks = noise()[:16, :16].reshape(4, 4, 4, 4, 3).mean((1, 3))
    np.testing.assert_allclose(crop, blocks, atol=1e-3)


@pytest.mark.parametrize("side", [37.0, 61.0, 128.0])
def test_fine_stripes_become_grey_instead_of_moire(side):
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    matrix = square_matrix(np.array([64.0, 64.0]), side, roll_deg=0, size_px=16)
    contrast = as_pixels(sample_square(stripes, matrix, 16, extend=True)).std()
    assert contrast < 0.2 * stripes.std()


def test_outside_is_the_border_or_grey():
    white = np.full((10, 10, 3), 255, np.uint8)
    matrix = square_matrix(np.array([20.0, 5.0]), 4.0, roll_deg=0, size_px=4)
    assert (sample_square(white, matrix, 4, extend=True) == 1).all()
    assert (sample_square(white, matrix, 4, extend=False) == 0).all()


def test_a_turned_crop_is_bilinear():
    matrix = square_matrix(np.array([14.3, 9.8]), 7.0, roll_deg=25, size_px=8)
    x, y = np.meshgrid(np.arange(8) + 0.5, np.arange(8) + 0.5)
    places = transform(matrix, np.stack([x.ravel(), y.ravel()], axis=1)) - 0.5
    expected = [map_coordinates(channel, places.T[::-1], order=1) for channel in np.moveaxis(noise() / 255, 2, 0)]
    crop = sample_square(noise(), matrix, 8, extend=True)
    np.testing.assert_allclose((crop[0].reshape(3, -1).numpy() + 1) / 2, expected, atol=1e-4)
