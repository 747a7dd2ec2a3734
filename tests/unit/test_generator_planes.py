# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import pytest
import torch

from backend.generator.planes import PlaneLookup, sample_each_plane


def sample_planes(planes, points, **options):
    return PlaneLookup(planes, **options).mean(points)


# Width, height and thickness of each plane, from the tables of the papers' code in words.
SPANS = {"eg3d": ["xyz", "xzy", "zxy"], "corrected": ["xyz", "xzy", "yzx"]}


def columns(points, names):
    return torch.stack([points[..., "xyz".index(name)] for name in names], dim=-1)


@pytest.mark.parametrize("axes", ["eg3d", "corrected"])
def test_planes_of_coordinates_give_back_the_coordinates(axes):
    r, side = 16, 0.42
    centre = ((torch.arange(r) + 0.5) / r - 0.5) * side
    height, width = torch.meshgrid(centre, centre, indexing="ij")
    planes = torch.stack([width, height]).expand(1, 3, 2, r, r)
    points = (torch.rand(1, 50, 3) - 0.5) * side * 0.9
    features = sample_each_plane(planes, points, side=side, axes=axes)
    for plane, names in enumerate(SPANS[axes]):
        torch.testing.assert_close(features[:, plane], columns(points, names[:2]), rtol=0, atol=1e-6)


def look_up_by_hand(grid, place):
    """Feature of one point in one thick plane (feature, slice, row, column), place in [-1, 1]."""
    sizes = grid.shape[1:][::-1]
    position = [(p + 1) / 2 * n - 0.5 for p, n in zip(place.tolist(), sizes, strict=True)]
    total = torch.zeros(grid.shape[0])
    for corner in itertools.product((0, 1), repeat=3):
        index = [math.floor(p) + c for p, c in zip(position, corner, strict=True)]
        if all(0 <= i < n for i, n in zip(index, sizes, strict=True)):
            weight = math.prod(1 - abs(p - i) for p, i in zip(position, index, strict=True))
            total += weight * grid[:, index[2], index[1], index[0]]
    return total


@pytest.mark.parametrize("axes", ["eg3d", "corrected"])
@pytest.mark.parametrize("depth", [2, 3])
def test_a_tri_grid_is_trilinear_with_zeros_outside(axes, depth):
    torch.manual_seed(3)
    side, planes = 2.0, torch.randn(2, 3, 4 * depth, 5, 5)
    points = torch.rand(2, 20, 3) * 2.6 - 1.3
    features = sample_each_plane(planes, points, side=side, axes=axes, depth=depth)
    for b, plane, n in itertools.product(range(2), range(3), range(20)):
        grid = planes[b, plane].reshape(4, depth, 5, 5)
        expected = look_up_by_hand(grid, columns(points[b, n], SPANS[axes][plane]))
        torch.testing.assert_close(features[b, plane, n], expected, rtol=1e-4, atol=1e-5)


def test_one_slice_is_a_tri_plane():
    planes, points = torch.randn(1, 3, 4, 5, 5), torch.rand(1, 20, 3) - 0.5
    grid = planes.repeat_interleave(2, dim=2)
    inside = points * 0.4  # Between the centres of the two slices.
    flat = sample_planes(planes, inside, side=1.0)
    torch.testing.assert_close(sample_planes(grid, inside, side=1.0, depth=2), flat)


def test_points_outside_have_no_features():
    planes, points = torch.ones(1, 3, 2, 8, 8), torch.full((1, 4, 3), 0.6)
    assert not sample_planes(planes, points, side=1.0).any()


def test_the_mean_of_equal_planes_is_their_value():
    planes, points = torch.full((1, 3, 2, 8, 8), 5.0), (torch.rand(1, 9, 3) - 0.5) * 0.8
    torch.testing.assert_close(sample_planes(planes, points, side=1.0), torch.full((1, 9, 2), 5.0))
