# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import pytest
import torch
from PIL import Image

from backend.alignment import Portrait
from backend.camera import look_at_camera
from backend.photo import Photo
from backend.portrait_record import LARGEST_CROP_PX, MASK_PX, keep_portrait
from backend.resample import square_matrix

CAMERA = look_at_camera(yaw_deg=10, pitch_deg=0, distance=1.2, focal=3.0)


def smooth_photo(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40) + np.cos(y / 55), np.sin((x + y) / 60), np.cos(x / 35)]
    return Photo(np.clip(128 + 50 * np.stack(waves, -1), 0, 255).astype(np.uint8), None, "0" * 64, "waves.png")


def portrait_of(side_px, *, centre=(400.0, 300.0), roll_deg=0.0, size_px=128):
    """A portrait that shows ``side_px`` photo pixels along its edge."""
    to_photo = square_matrix(np.array(centre), side_px, roll_deg=roll_deg, size_px=size_px)
    empty = torch.zeros((1, 3, size_px, size_px))
    return Portrait(empty, np.linalg.inv(to_photo), np.zeros((478, 2)), np.zeros(478), torch.ones_like(empty[:, :1]))


def ramp_mask(size_px=128):
    return torch.linspace(0, 1, size_px).expand(1, 1, size_px, size_px).contiguous()


@pytest.mark.parametrize(("side_px", "crop_px"), [(60.0, 128), (300.0, 300), (2000.0, LARGEST_CROP_PX)])
def test_the_crop_is_as_sharp_as_the_photo_within_limits(side_px, crop_px):
    kept = keep_portrait(smooth_photo(600, 800), portrait_of(side_px), ramp_mask(), CAMERA)
    assert kept.pixels().shape == (crop_px, crop_px, 3)


def test_an_upright_crop_is_that_part_of_the_photo():
    photo = smooth_photo(600, 800)
    kept = keep_portrait(photo, portrait_of(300.0), ramp_mask(), CAMERA)
    truth = photo.pixels[150:450, 250:550].astype(int)
    assert np.abs(kept.pixels().astype(int) - truth).mean() < 1.5
    assert np.abs(kept.pixels().astype(int) - truth).max() < 12  # JPEG.


def test_a_portrait_of_a_kept_portrait_shows_the_same():
    """Where a portrait pixel lies in the photo, the crop has the photo's colour."""
    photo = smooth_photo(600, 800)
    portrait = portrait_of(260.0, roll_deg=20.0)
    kept = keep_portrait(photo, portrait, ramp_mask(), CAMERA)
    crop = kept.pixels()
    to_photo = np.linalg.inv(portrait.photo_to_portrait)
    for place in ((20.5, 30.5), (64.5, 64.5), (100.5, 90.5)):
        x, y, _ = to_photo @ (*place, 1)
        scale = len(crop) / portrait.size_px
        column, row = int(place[0] * scale), int(place[1] * scale)
        difference = crop[row, column].astype(int) - photo.pixels[int(y), int(x)].astype(int)
        assert np.abs(difference).max() < 8


def test_the_matte_is_kept_small_in_bytes():
    kept = keep_portrait(smooth_photo(600, 800), portrait_of(300.0, size_px=512), ramp_mask(512), CAMERA)
    assert kept.mask.shape == (MASK_PX, MASK_PX) and kept.mask.dtype == np.uint8
    truth = np.linspace(0, 255, 512).reshape(-1, 2).mean(1)
    np.testing.assert_allclose(kept.mask, np.tile(truth, (MASK_PX, 1)), atol=0.51)


def test_the_view_for_texturing_is_the_crop_itself():
    kept = keep_portrait(smooth_photo(600, 800), portrait_of(300.0), ramp_mask(), CAMERA)
    view = kept.view()
    np.testing.assert_array_equal(view.pixels, kept.pixels())
    np.testing.assert_array_equal(view.photo_to_portrait, np.eye(3))
    assert view.portrait_px == 300 and view.camera is CAMERA
    assert view.mask.min() >= 0 and view.mask.max() == pytest.approx(1, abs=0.01)


def test_beyond_the_photo_its_border_goes_on():
    photo = smooth_photo(600, 800)
    kept = keep_portrait(photo, portrait_of(300.0, centre=(0.0, 300.0)), ramp_mask(), CAMERA)
    crop = kept.pixels().astype(int)
    assert np.abs(crop[:, 10:140] - crop[:, 151:152]).mean() < 6


def test_what_is_kept_is_a_jpeg_file():
    kept = keep_portrait(smooth_photo(600, 800), portrait_of(300.0), ramp_mask(), CAMERA)
    with Image.open(io.BytesIO(kept.jpeg)) as image:
        assert image.format == "JPEG" and image.size == (300, 300)
