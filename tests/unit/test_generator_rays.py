# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch

from backend.camera import look_at_camera, rays
from backend.generator.eg3d_camera import orbit_pose
from backend.generator.rays import camera_rays, cross_cube, cube_limits


def test_rays_are_those_of_the_single_camera():
    camera = look_at_camera(yaw_deg=25, pitch_deg=-10, distance=2.7, focal=4.26)
    camera.intrinsics[0, 1] = 0.03
    origin, directions = rays(camera, 7)
    pose, lens = (torch.from_numpy(x)[None] for x in (camera.cam2world, camera.intrinsics))
    origins, found = camera_rays(pose, lens, 7)
    np.testing.assert_allclose(found[0].numpy(), directions.reshape(-1, 3), atol=1e-12)
    np.testing.assert_allclose(origins[0].numpy(), np.broadcast_to(origin, (49, 3)))


def test_a_ray_along_an_axis_crosses_the_whole_cube():
    origins, directions = torch.tensor([[[0.1, 0.2, 3.0]]]), torch.tensor([[[0.0, 0.0, -1.0]]])
    near, far, hits = cross_cube(origins, directions, 2.0)
    assert hits.all()
    torch.testing.assert_close(torch.stack([near, far]).flatten(), torch.tensor([2.0, 4.0]))


def test_crossings_lie_on_the_surface():
    torch.manual_seed(4)
    origins = torch.nn.functional.normalize(torch.randn(1, 300, 3), dim=-1) * 3
    directions = torch.nn.functional.normalize(torch.randn(1, 300, 3) * 0.4 - origins / 3, dim=-1)
    near, far, hits = cross_cube(origins, directions, 1.0)
    assert hits.any()
    assert not hits.all()
    for distance in (near, far):
        points = (origins + distance[..., None] * directions)[hits]
        torch.testing.assert_close(points.abs().amax(-1), torch.full((len(points),), 0.5))


def test_missing_rays_take_the_range_of_entries():
    origins = torch.tensor([[[0.0, 0.0, 3.0], [0.0, 0.0, 5.0], [9.0, 9.0, 3.0]]])
    directions = torch.tensor([0.0, 0.0, -1.0]).expand(1, 3, 3)
    near, far = cube_limits(origins, directions, 2.0)
    torch.testing.assert_close(near, torch.tensor([[2.0, 4.0, 2.0]]))
    torch.testing.assert_close(far, torch.tensor([[4.0, 6.0, 4.0]]))


def test_when_all_rays_miss_the_limits_say_so():
    near, far = cube_limits(torch.full((1, 2, 3), 9.0), torch.tensor([0.0, 0.0, 1.0]).expand(1, 2, 3), 1.0)
    assert near.eq(-1).all()
    assert far.eq(-2).all()


def test_rays_that_only_touch_an_edge_are_no_sampled_ones():
    origins = torch.tensor([[[0.5, 0.5, 2.0], [9.0, 9.0, 3.0]]])
    directions = torch.nn.functional.normalize(torch.tensor([[[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]]), dim=-1)
    origins[0, 0] = torch.tensor([0.0, 1.0, 0.0])  # Through the edge at (0.5, 0.5).
    near, far = cube_limits(origins, directions, 1.0)
    assert near[0, 0] == far[0, 0] and (near[0, 1], far[0, 1]) == (-1, -2)


def test_the_frontal_orbit_pose_is_the_frontal_camera():
    expected = look_at_camera(yaw_deg=0, pitch_deg=0, distance=2.7, focal=1.0).cam2world
    np.testing.assert_allclose(orbit_pose(np.pi / 2, np.pi / 2, pivot=np.zeros(3), radius=2.7), expected, atol=1e-12)
    turned = orbit_pose(np.pi / 2 + 0.4, np.pi / 2, pivot=np.zeros(3), radius=2.7)
    assert turned[0, 3] > 0
