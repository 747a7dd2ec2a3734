# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import torch

from backend.camera import Camera, look_at_camera, project
from backend.generator.eg3d_camera import label_of
from backend.inversion.cameras import Cameras, cameras_of, pixel_places
from tests.small_planes import camera_at


def skewed() -> Cameras:
    camera = look_at_camera(yaw_deg=25, pitch_deg=10, distance=2.7, focal=4.0)
    return cameras_of(Camera(camera.cam2world, np.array([[4.0, 0.3, 0.45], [0.0, 3.8, 0.52], [0.0, 0.0, 1.0]])))


def test_projection_is_that_of_the_single_camera():
    camera = look_at_camera(yaw_deg=-40, pitch_deg=15, distance=2.5, focal=3.5)
    points = np.random.default_rng(0).normal(0, 0.2, (20, 3))
    expected, depth = project(camera, points)
    places, distance = cameras_of(camera).project(torch.from_numpy(points).float()[None])
    np.testing.assert_allclose(places[0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(distance[0].numpy(), np.linalg.norm(points - camera.position, axis=1), atol=1e-5)
    assert (depth > 0).all()


def test_lifting_undoes_projecting():
    points = torch.randn(1, 30, 3, generator=torch.Generator().manual_seed(1)) * 0.2
    cameras = skewed()
    torch.testing.assert_close(cameras.lift(*cameras.project(points)), points, atol=1e-5, rtol=0)


def test_a_point_behind_the_camera_has_a_negative_distance():
    _, distance = camera_at(0).project(torch.tensor([[[0.0, 0.0, 5.0]]]))
    assert distance.item() < 0


def test_the_mirrored_camera_sees_the_mirrored_head_in_a_flipped_picture():
    cameras = skewed()
    points = torch.randn(1, 30, 3, generator=torch.Generator().manual_seed(2)) * 0.2
    places, distance = cameras.project(points)
    flipped, same = cameras.mirrored().project(points * torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(flipped, places * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(same, distance)


def test_mirroring_negates_the_published_entries_of_a_label():
    camera = look_at_camera(yaw_deg=30, pitch_deg=5, distance=2.7, focal=4.2647)
    expected = label_of(camera)
    expected[[1, 2, 3, 4, 8]] *= -1
    mirrored = cameras_of(camera).mirrored()
    label = torch.cat([mirrored.cam2world.flatten(), mirrored.intrinsics.flatten()])
    np.testing.assert_allclose(label.numpy(), expected, atol=1e-6)


def test_turning_carries_a_level_camera_around_the_head():
    yaw, pitch = torch.tensor([0.3, -0.2]), torch.tensor([0.0, 0.1])
    turned = camera_at(20).turned(yaw, pitch)
    torch.testing.assert_close(turned.yaw(), math.radians(20) + yaw, atol=1e-5, rtol=0)
    for number in range(2):
        expected = camera_at(20 + math.degrees(yaw[number]), math.degrees(pitch[number]))
        torch.testing.assert_close(turned.cam2world[number], expected.cam2world[0], atol=1e-5, rtol=0)


def test_yaw_grows_towards_plus_x():
    assert camera_at(30).yaw().item() > 0
    assert abs(camera_at(0).yaw().item()) < 1e-6


def test_pixel_places_run_row_by_row():
    places = pixel_places(2, torch.device("cpu"))
    assert places.tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
