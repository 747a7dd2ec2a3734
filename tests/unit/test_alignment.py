# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend import face_mesh_points as points
from backend.alignment import align_portrait
from backend.face_mesh import eye_roll_deg
from backend.landmarks import Face
from backend.photo import Photo
from backend.resample import transform
from tests.portraits import astronaut, astronaut_face, needs_photo_models


def drawn_face(centre, height, roll_deg):
    """A flat face with its main landmarks in place."""
    rng = np.random.default_rng(0)
    upright = rng.uniform([-0.3, -0.4], [0.3, 0.4], (points.COUNT, 2))
    upright[points.FOREHEAD_TOP], upright[points.CHIN] = (0, -0.5), (0, 0.5)
    upright[points.RIGHT_EYE_OUTER], upright[points.LEFT_EYE_OUTER] = (-0.3, -0.1), (0.3, -0.1)
    upright[points.RIGHT_CHEEK], upright[points.LEFT_CHEEK] = (-0.4, 0), (0.4, 0)
    roll = np.radians(roll_deg)
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    landmarks = upright * height @ turn + centre
    return Face(np.zeros(4), 1.0, landmarks, np.zeros(points.COUNT))


def gradient_photo(width, height):
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x * 255 // width, y * 255 // height, 0 * x], axis=-1).astype(np.uint8)
    return Photo(pixels, None, "", "gradient.png")


@pytest.mark.parametrize("roll_deg", [0.0, 35.0, -170.0])
def test_the_portrait_is_upright_centred_and_of_the_stated_size(roll_deg):
    face = drawn_face([400, 300], 100, roll_deg)
    portrait = align_portrait(gradient_photo(800, 600), face, size_px=280)
    assert portrait.image.shape == (1, 3, 280, 280)
    assert portrait.size_px == 280
    assert eye_roll_deg(portrait.landmarks) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(transform(portrait.photo_to_portrait, np.array([[400.0, 300.0]])), [[140, 140]])
    height = np.linalg.norm(portrait.landmarks[points.CHIN] - portrait.landmarks[points.FOREHEAD_TOP])
    assert height == pytest.approx(100)


def test_the_pixels_are_the_photos():
    portrait = align_portrait(gradient_photo(800, 600), drawn_face([400, 300], 100, 20), size_px=280)
    x, y = np.meshgrid(np.arange(280) + 0.5, np.arange(280) + 0.5)
    places = transform(np.linalg.inv(portrait.photo_to_portrait), np.stack([x.ravel(), y.ravel()], axis=1))
    shown = (portrait.image[0, :2].permute(1, 2, 0).reshape(-1, 2).numpy() + 1) / 2
    assert np.abs(shown - places / [800, 600]).max() < 0.006


def test_a_face_at_the_border_is_completed_and_the_added_part_is_marked():
    portrait = align_portrait(gradient_photo(800, 600), drawn_face([40, 300], 100, 0), size_px=280)
    covered = portrait.coverage[0, 0].numpy() > 0
    assert covered[:, 101:].all()
    assert not covered[:, :99].any()
    # What was added repeats the outermost pixels of its row.
    added = portrait.image[0, :, :, :99]
    assert (added == added[:, :, :1]).all()


@needs_photo_models
def test_the_astronauts_hair_and_shoulders_are_inside():
    photo = astronaut()
    portrait = align_portrait(photo, astronaut_face())
    corners = transform(np.linalg.inv(portrait.photo_to_portrait), np.array([[0.0, 0.0], [512.0, 512.0]]))
    # Her hair reaches from (156, 12) to (292, 128), the chin lies at y = 178; read off by eye.
    assert corners[0, 0] < 150
    assert corners[0, 1] < 8
    assert corners[1, 0] > 298
    assert corners[1, 1] > 230
