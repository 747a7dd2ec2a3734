# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend import face_mesh_points as points
from backend.face_mesh import eye_roll_deg, face_square, read_mesh
from backend.photo_network import load_network
from tests.portraits import needs_photo_models


def test_mirroring_twice_changes_nothing():
    np.testing.assert_array_equal(points.MIRROR[points.MIRROR], np.arange(points.COUNT))
    assert points.MIRROR[points.RIGHT_EYE_OUTER] == points.LEFT_EYE_OUTER
    assert points.MIRROR[points.RIGHT_IRIS] == points.LEFT_IRIS
    assert points.MIRROR[points.CHIN] == points.CHIN


@pytest.mark.parametrize("roll_deg", [0.0, 20.0, -100.0])
def test_the_face_square_is_turned_with_the_eyes(roll_deg):
    rng = np.random.default_rng(0)
    upright = rng.uniform([-3, -4], [3, 4], (points.COUNT, 2))
    upright[points.FOREHEAD_TOP], upright[points.CHIN] = (0, -4), (0, 4)
    upright[points.RIGHT_EYE_OUTER], upright[points.LEFT_EYE_OUTER] = (-3, -1), (3, -1)
    roll = np.radians(roll_deg)
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    landmarks = upright @ turn + [40, 70]
    centre, side, roll_found = face_square(landmarks)
    np.testing.assert_allclose(centre, [40, 70], atol=0.05)
    assert side == pytest.approx(8)
    assert roll_found == pytest.approx(eye_roll_deg(landmarks)) == pytest.approx(roll_deg)


@needs_photo_models
def test_landmarks_can_be_optimised_through():
    crops = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0), requires_grad=True)
    landmarks, presence = read_mesh(load_network("face_mesh"), crops)
    assert landmarks.shape == (1, points.COUNT, 3)
    assert 0 <= presence.item() <= 1
    landmarks[..., :2].sum().backward()
    assert torch.isfinite(crops.grad).all()
