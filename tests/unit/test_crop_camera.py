# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.camera import Camera, look_at_camera, project
from backend.crop_camera import before_the_head, project_points, to_camera, to_numbers, zoomed
from backend.skeleton import Skeleton, head_motion
from backend.training.framing import Framing

POINTS = np.random.default_rng(0).uniform(-0.09, 0.09, (60, 3))
SKELETON = Skeleton(np.array([[0.0, -0.12, -0.02], [0.0, -0.06, 0.0]]))


def test_a_camera_that_looks_at_the_head_has_its_own_angles_and_sizes():
    camera = look_at_camera(yaw_deg=33, pitch_deg=-12, distance=1.3, focal=3.3)
    numbers = to_numbers(camera)
    np.testing.assert_allclose(np.degrees(numbers[:3]), [33, -12, 0], atol=1e-9)
    np.testing.assert_allclose(numbers[3:], [0, 0, np.log(3.3 / 1.3), np.log(3.3)], atol=1e-9)


def test_roll_is_positive_when_the_head_leans_to_the_right_of_the_picture():
    camera = Framing(10.0, 5.0, roll_deg=-20.0).camera()
    upper, lower = project(camera, np.array([[0.0, 0.1, 0.0], [0.0, -0.1, 0.0]]))[0]
    assert upper[0] > lower[0]
    assert np.degrees(to_numbers(camera)[2]) == pytest.approx(20, abs=1.5)


def test_numbers_and_camera_are_inverses():
    random = np.random.default_rng(1)
    for _ in range(20):
        numbers = np.array(
            [*random.uniform(-1.2, 1.2, 2), *random.uniform(-0.4, 0.4, 3), random.uniform(0.6, 1.4), 1.2]
        )
        np.testing.assert_allclose(to_numbers(to_camera(numbers)), numbers, atol=1e-9)


def test_a_crop_beside_the_axis_looks_nearly_the_same_through_its_own_camera():
    camera = Framing(25.0, -8.0, aim=(0.4, 0.2), shift=(0.03, -0.02)).camera()
    off = np.abs(project(camera, POINTS)[0] - project(to_camera(to_numbers(camera)), POINTS)[0])
    assert off.max() < 0.02 * 0.18 * np.exp(to_numbers(camera)[5])


def test_points_are_projected_as_the_camera_does():
    numbers = np.array([0.5, -0.2, 0.1, 0.02, -0.03, 1.0, 1.1])
    shown = project_points(torch.from_numpy(numbers)[None], torch.from_numpy(POINTS)[None])[0]
    np.testing.assert_allclose(shown.numpy(), project(to_camera(numbers), POINTS)[0], atol=1e-12)


def test_a_zoomed_camera_shows_the_middle():
    camera = Framing(25.0, -8.0, aim=(0.1, 0.2)).camera()
    whole, middle = project(camera, POINTS)[0], project(zoomed(camera, 1 / 0.7), POINTS)[0]
    np.testing.assert_allclose(middle - 0.5, (whole - 0.5) / 0.7, atol=1e-12)


def test_a_turned_head_before_a_camera_is_a_still_head_before_a_moved_one():
    pose = np.array([0.1, -0.3, 0.05, 0.2, 0.25, -0.1])
    camera = Framing(15.0, 5.0).camera()
    turned = SKELETON.place(POINTS, np.tile([0.0, 1.0], (len(POINTS), 1)), pose)
    expected = project(camera, turned)[0]
    np.testing.assert_allclose(project(before_the_head(camera, SKELETON, pose), POINTS)[0], expected, atol=1e-12)
    turn, shift = head_motion(SKELETON, pose)
    np.testing.assert_allclose(POINTS @ turn.T + shift, turned, atol=1e-12)


def test_a_head_at_rest_leaves_the_camera_alone():
    camera = Framing(15.0, 5.0).camera()
    still = before_the_head(camera, SKELETON, np.zeros(6))
    assert isinstance(still, Camera)
    np.testing.assert_allclose(still.cam2world, camera.cam2world, atol=1e-12)
