# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.generator.deformation import (
    MeshDeformation,
    faces_within,
    nearest_faces,
    squared_distances,
    triangle_frames,
)


def cloud(count, seed=0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def soup(count):
    """Small triangles anywhere."""
    return (cloud(count, 1)[:, None] + 0.1 * cloud(3 * count, 2).reshape(count, 3, 3)).reshape(-1, 3)


def sampled_distance(point, corners):
    """The slow way: the least over a dense sample of the triangle."""
    a, b = np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 1, 201))
    inside = a + b <= 1
    shares = np.stack([1 - a - b, a, b], axis=-1)[inside]
    return ((shares @ corners.numpy() - point.numpy()) ** 2).sum(1).min()


def test_distances_are_those_of_a_dense_sample():
    for seed in range(30):
        corners, point = cloud(3, seed), cloud(1, 100 + seed)[0]
        ours = squared_distances(point, corners)
        assert float(ours) <= sampled_distance(point, corners) + 1e-12
        assert float(ours) == pytest.approx(sampled_distance(point, corners), abs=1e-3)


def test_a_triangle_without_area_is_its_longest_edge():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=torch.float64)
    assert float(squared_distances(torch.tensor([1.5, 2.0, 0], dtype=torch.float64), corners)) == pytest.approx(4)


def test_the_quick_search_finds_what_measuring_everything_finds():
    vertices, points = soup(300), cloud(200, 3)
    faces = torch.arange(len(vertices)).reshape(-1, 3)
    everything = squared_distances(points[:, None], vertices[faces][None])
    best = everything.argmin(1)
    assert torch.equal(nearest_faces(points, vertices, faces, reach=np.inf), best)
    limited = nearest_faces(points, vertices, faces, reach=0.3)
    is_near = everything.amin(1) < 0.09
    assert 0 < is_near.sum() < len(points)
    assert torch.equal(limited, torch.where(is_near, best, -1))


def test_of_equally_near_triangles_the_first_is_kept():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=torch.float64)
    above_the_shared_edge = torch.tensor([[0.3, 0, 0.2]], dtype=torch.float64)
    for faces in ([[0, 1, 2], [1, 0, 3]], [[1, 0, 3], [0, 1, 2]]):
        assert nearest_faces(above_the_shared_edge, vertices, torch.tensor(faces), reach=1.0).tolist() == [0]


def test_a_body_that_moves_as_a_whole_is_moved_back():
    vertices, points = soup(50), 0.9 * cloud(40, 4)
    faces = torch.arange(len(vertices)).reshape(-1, 3)
    rotation = torch.linalg.qr(cloud(3, 5))[0]
    rotation = rotation * torch.linalg.det(rotation)
    shift = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    posed = vertices @ rotation.T + shift
    deform = MeshDeformation(posed[None], vertices[None], faces, reach=10.0)
    torch.testing.assert_close(deform((points @ rotation.T + shift)[None])[0], points)


def test_points_out_of_reach_stay():
    vertices = soup(20)
    faces = torch.arange(len(vertices)).reshape(-1, 3)
    points = cloud(30, 6) + 100
    deform = MeshDeformation(vertices[None] + 1, vertices[None], faces, reach=0.25)
    assert torch.equal(deform(points[None])[0], points)


def test_frames_are_rotations():
    axes, origin = triangle_frames(cloud(30, 7).reshape(10, 3, 3))
    torch.testing.assert_close(axes.mT @ axes, torch.eye(3, dtype=torch.float64).expand(10, 3, 3))
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(10, dtype=torch.float64))
    torch.testing.assert_close(origin, cloud(30, 7).reshape(10, 3, 3)[:, 0])


def test_only_triangles_wholly_inside_count():
    vertices = np.array([[0, 0, 0], [0.4, 0, 0], [0, 0.4, 0], [0.6, 0, 0]])
    assert faces_within(vertices, np.array([[0, 1, 2], [0, 3, 2]]), 1.0).tolist() == [True, False]
