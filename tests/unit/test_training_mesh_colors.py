# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.training.mesh_colors import MeshSamples, resolution_for

RESOLUTION = np.array([1, 2, 5, 8])


@pytest.fixture
def samples():
    return MeshSamples(RESOLUTION)


def places(count=400):
    random = np.random.default_rng(0)
    return random.integers(0, len(RESOLUTION), count), random.dirichlet([0.6, 0.6, 0.6], count)


def test_each_triangle_has_its_own_block_of_samples(samples):
    counts = np.bincount(samples.triangle)
    np.testing.assert_array_equal(counts, [3, 6, 21, 45])
    np.testing.assert_array_equal(samples.first, [0, 3, 9, 30])
    np.testing.assert_allclose(samples.barycentric.sum(1), 1, atol=1e-6)


def test_linear_paint_is_read_back_exactly(samples):
    corners = np.random.default_rng(1).normal(size=(len(RESOLUTION), 3))
    paint = (corners[samples.triangle] * samples.barycentric).sum(1)
    triangle, barycentric = places()
    read = samples.at(triangle, barycentric).read(paint[:, None])[:, 0]
    np.testing.assert_allclose(read, (corners[triangle] * barycentric).sum(1), atol=1e-5)


def test_the_slope_of_linear_paint_is_the_difference_of_its_corners(samples):
    corners = np.random.default_rng(1).normal(size=(len(RESOLUTION), 3))
    paint = (corners[samples.triangle] * samples.barycentric).sum(1)
    triangle, barycentric = places()
    slope = samples.at(triangle, barycentric).slope(paint)
    np.testing.assert_allclose(slope, (corners[:, :2] - corners[:, 2:])[triangle], atol=1e-5)


def test_the_samples_around_a_place_lie_in_its_triangle_and_close_to_it(samples):
    triangle, barycentric = places()
    found = samples.at(triangle, barycentric)
    index, weights = found.index, found.weights
    np.testing.assert_array_equal(samples.triangle[index], np.repeat(triangle[:, None], 3, axis=1))
    assert weights.min() > -1e-6
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    gap = np.abs(samples.barycentric[index] - barycentric[:, None]).max((1, 2))
    assert (gap <= 1 / RESOLUTION[triangle] + 1e-6).all()


@pytest.mark.parametrize("corner", range(3))
def test_corners_read_their_own_sample(samples, corner):
    triangle = np.arange(len(RESOLUTION))
    found = samples.at(triangle, np.tile(np.eye(3)[corner], (len(triangle), 1)))
    weights = found.weights
    nearest = found.index[triangle, weights.argmax(1)]
    np.testing.assert_allclose(weights.max(1), 1, atol=1e-6)
    np.testing.assert_allclose(samples.barycentric[nearest, corner], 1)


def test_larger_triangles_get_more_samples():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.1, 0, 0], [0, 0.1, 0]], dtype=float)
    faces = np.array([[0, 1, 2], [0, 3, 4]])
    np.testing.assert_array_equal(resolution_for(vertices, faces, 0.1), [11, 2])
    np.testing.assert_array_equal(resolution_for(vertices, faces, np.array([10.0, 1e-6])), [1, 32])
