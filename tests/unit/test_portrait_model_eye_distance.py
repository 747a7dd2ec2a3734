# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import skimage.data

from backend.camera import look_at_camera
from backend.portrait_model.eye_distance import LEFT_EYE, RIGHT_EYE, metres_per_unit
from tests.portraits import HEAD, astronaut_face, needs_photo_models

CAMERA = look_at_camera(yaw_deg=0.0, pitch_deg=0.0, distance=2.7, focal=4.0)


@needs_photo_models
def test_eyes_on_a_flat_picture_are_as_far_apart_as_their_pixels_say():
    """The astronaut as a flat board at distance 2.5: widths on it are widths in the picture times 2.5 / 4."""
    picture = np.ascontiguousarray(skimage.data.astronaut()[HEAD])
    grid = (np.arange(100) + 0.5) / 100 - 0.5
    along = 2.5 * np.sqrt(1 + (grid[:, None] / 4) ** 2 + (grid[None] / 4) ** 2)
    landmarks = astronaut_face().landmarks / len(picture)
    right, left = (landmarks[list(eye)].mean(0) for eye in (RIGHT_EYE, LEFT_EYE))
    expected = 0.063 / (np.linalg.norm(left - right) * 2.5 / 4)
    assert metres_per_unit(picture, along, CAMERA, usual=expected * 1.2) == pytest.approx(expected, rel=0.02)
    assert metres_per_unit(picture, along, CAMERA, usual=expected * 3) == expected * 3  # No eyes are so far apart.


@needs_photo_models
def test_a_picture_without_a_face_has_the_usual_size():
    assert metres_per_unit(np.full((128, 128, 3), 90, np.uint8), np.ones((16, 16)), CAMERA, usual=0.39) == 0.39
