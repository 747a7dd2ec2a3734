# SPDX-License-Identifier: Apache-2.0
"""Cameras: where they stand, what they see."""

import numpy as np
import pytest

from backend.camera import directions_through, look_at_camera, project, rays


def test_a_front_camera_sees_the_subjects_left_on_the_right_and_up_on_top():
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=2, focal=4)
    image, depth = project(camera, np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.1, 0.0]]))
    np.testing.assert_allclose(image, [[0.5, 0.5], [0.7, 0.5], [0.5, 0.3]], atol=1e-12)
    np.testing.assert_allclose(depth, 2.0)


@pytest.mark.parametrize(("yaw_deg", "pitch_deg"), [(0, 0), (35, -20), (-90, 60), (180, 10)])
def test_a_camera_stands_at_its_distance_and_looks_at_its_target(yaw_deg, pitch_deg):
    target = np.array([0.1, -0.2, 0.3])
    camera = look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=1.5, focal=3, target=target)
    rotation = camera.cam2world[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.linalg.norm(camera.position - target) == pytest.approx(1.5)
    image, _ = project(camera, target[None])
    np.testing.assert_allclose(image, [[0.5, 0.5]], atol=1e-12)


def test_positive_yaw_is_to_the_subjects_left_and_positive_pitch_above():
    assert look_at_camera(yaw_deg=90, pitch_deg=0, distance=2, focal=1).position == pytest.approx([2, 0, 0])
    assert look_at_camera(yaw_deg=0, pitch_deg=30, distance=2, focal=1).position[1] == pytest.approx(1)


def test_points_on_a_pixels_ray_project_to_its_centre():
    camera = look_at_camera(yaw_deg=25, pitch_deg=10, distance=2, focal=3)
    origin, directions = rays(camera, 4)
    image, _ = project(camera, (origin + 1.7 * directions).reshape(-1, 3))
    centres = (np.arange(4) + 0.5) / 4
    np.testing.assert_allclose(image.reshape(4, 4, 2)[..., 0], np.tile(centres, (4, 1)), atol=1e-12)
    np.testing.assert_allclose(image.reshape(4, 4, 2)[..., 1], np.tile(centres[:, None], (1, 4)), atol=1e-12)


def test_a_direction_through_an_image_place_leads_to_what_appears_there():
    camera = look_at_camera(yaw_deg=25, pitch_deg=-10, distance=2, focal=3)
    image = np.random.default_rng(0).uniform(-0.2, 1.2, (30, 2))
    directions = directions_through(camera, image)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(project(camera, camera.position + 5 * directions)[0], image, atol=1e-12)
