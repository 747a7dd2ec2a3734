# SPDX-License-Identifier: Apache-2.0
"""What is known of a person, on a ball."""

import numpy as np
import pytest

from backend.camera import project
from backend.evaluation.truth import FACE_RADIUS_M, head_frame
from backend.training.framing import HEAD_CENTRE_M
from tests.ball_person import RADIUS, SHIFT, TURN, ball_scene, ball_truth, placed


def test_the_frame_is_the_turn_of_the_head():
    frame = head_frame(ball_scene())
    np.testing.assert_allclose(frame.rotation, TURN, atol=1e-9)
    np.testing.assert_allclose(frame.shift, SHIFT, atol=1e-9)
    assert frame.scale == 1


def test_the_front_camera_looks_along_the_turned_head():
    camera = ball_truth().studio_camera(0)
    np.testing.assert_allclose(camera.cam2world[:3, 2], -TURN[:, 2], atol=1e-9)
    image, _ = project(camera, placed(HEAD_CENTRE_M[None]))
    np.testing.assert_allclose(image, [[0.5, 0.5]], atol=1e-9)


@pytest.mark.parametrize("yaw", [-60, 30, 180])
def test_a_turned_front_camera_is_the_camera_of_that_yaw(yaw):
    turned, straight = ball_truth().turned(ball_truth().studio_camera(0), yaw), ball_truth().studio_camera(yaw)
    np.testing.assert_allclose(turned.cam2world, straight.cam2world, atol=1e-9)


def test_lengths_are_those_of_a_head_with_63_mm_between_the_eyes():
    assert ball_truth().mm_per_m == pytest.approx(63 / 0.084)


def test_head_and_face_are_what_they_should_be():
    view = ball_truth().view(ball_truth().studio_camera(0), 64)
    assert (view.face <= view.head).all()
    assert (view.head <= view.inside).all()
    assert view.face[32, 32]
    bottom = np.flatnonzero(view.inside[:, 32]).max()
    assert not view.head[bottom, 32]  # Clothes, below the chin.
    assert view.depth[32, 32] == pytest.approx(1.5 + HEAD_CENTRE_M[2] - RADIUS, abs=1e-3)
    assert view.color[32, 32, 0] > view.color[32, 32, 2]


def test_the_scanned_face_is_the_seen_skin_around_the_nose():
    person = ball_truth()
    scan = (person.face_scan - SHIFT) @ TURN
    assert len(scan) > 1000
    np.testing.assert_allclose(np.linalg.norm(scan, axis=1), RADIUS, rtol=0.01)
    assert np.linalg.norm(scan - [0, 0, RADIUS], axis=1).max() < 1.1 * FACE_RADIUS_M
    assert scan[:, 1].min() > -0.06


def test_the_scanned_head_ends_below_the_chin():
    points_of_head = (ball_truth().head_points - SHIFT) @ TURN
    assert points_of_head[:, 2].min() < -0.9 * RADIUS  # From behind too.
    assert points_of_head[:, 1].min() > -0.04 - 0.02 - 0.01


def test_the_photo_is_the_same_every_time():
    first, second = ball_truth(), ball_truth()
    assert first.photo.shape == (64, 64, 3)
    assert first.photo_sha256 == second.photo_sha256
