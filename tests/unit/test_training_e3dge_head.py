# SPDX-License-Identifier: Apache-2.0
"""Heads in front of cameras: points, distances, slopes and rays against the egg's own formulas and the main path's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.camera import look_at_camera, rays
from backend.template import Deformation
from backend.training.e3dge_head import ShapedHead, is_met
from tests.small_examples import egg_hit
from tests.small_samples import face_starter, space_of
from tests.small_starter import AXES, SHAPES, front_points


@pytest.fixture(scope="module")
def starter():
    return face_starter()


@pytest.fixture(scope="module")
def space(starter):
    return space_of(starter)


def shaped(starter, space, shape):
    codes = {"z": starter.candidates[:1], "shape": shape[None], "expression": torch.zeros(1, 3)}
    return ShapedHead.of(starter.generator, space, **codes)


def still(head):
    """Without any deformation, so that the egg is exact."""
    return replace(head, lattice=torch.zeros_like(head.lattice))


def test_points_come_to_canonical_space_as_on_the_main_path(starter, space):
    shape = torch.tensor([1.0, -0.5, 0.3, 0.8])
    points = front_points(50)
    offsets = starter.template.offsets(shape.numpy().astype(float), np.zeros(3))
    expected = Deformation(starter.template, offsets, space.side).to_canonical(points)
    found = shaped(starter, space, shape).to_canonical(torch.from_numpy(points).float()[None])[0]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_slope_is_the_egg_s_normal(starter, space):
    points = torch.from_numpy(front_points(40)).float()
    normal = points / torch.from_numpy(AXES).float() ** 2
    normal /= normal.norm(dim=1, keepdim=True)
    found = still(shaped(starter, space, torch.zeros(SHAPES))).slope(points[None])[0]
    torch.testing.assert_close(found, normal, atol=0.08, rtol=0)  # The lattices' facets.


def test_rays_end_on_the_egg_and_the_coarse_picture_changes_nothing(starter, space):
    head = still(shaped(starter, space, torch.zeros(SHAPES)))
    camera = look_at_camera(yaw_deg=25, pitch_deg=10, distance=0.9, focal=2.5)
    origin, directions = rays(camera, 32)
    points, met = egg_hit(origin, directions)
    depth = head.picture_depth(torch.from_numpy(origin).float(), torch.from_numpy(directions).float())
    both = met & is_met(depth).numpy()
    assert both.sum() > 0.95 * met.sum() > 100
    exact = np.linalg.norm(points - origin, axis=-1)
    np.testing.assert_allclose(depth.numpy()[both], exact[both], atol=1.5e-3)
    assert np.median(np.abs(depth.numpy() - exact)[both]) < 1e-4


def test_the_slope_of_a_distance_in_the_codes_is_that_of_its_differences(starter, space):
    points = torch.from_numpy(front_points(30)).float()[None]
    shape = torch.zeros(SHAPES, requires_grad=True)
    shaped(starter, space, shape).distance(points).sum().backward()
    step = 0.05
    for number in range(SHAPES):
        moved = step * torch.eye(SHAPES)[number]
        with torch.no_grad():
            high, low = (float(shaped(starter, space, sign * moved).distance(points).sum()) for sign in (1, -1))
        assert float(shape.grad[number]) == pytest.approx((high - low) / (2 * step), rel=0.3, abs=3e-3)
