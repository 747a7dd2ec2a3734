# SPDX-License-Identifier: Apache-2.0
"""Vertex normals."""

import numpy as np

from backend.mesh import vertex_normals


def test_a_counter_clockwise_square_faces_its_viewer():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    np.testing.assert_allclose(vertex_normals(vertices, faces), np.tile([0.0, 0, 1], (4, 1)))
    np.testing.assert_allclose(vertex_normals(vertices, faces[:, ::-1]), np.tile([0.0, 0, -1], (4, 1)))


def test_an_octahedrons_normals_point_away_from_its_centre():
    axes = np.eye(3)
    vertices = np.concatenate([axes, -axes])
    faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
    np.testing.assert_allclose(vertex_normals(vertices, faces), vertices, atol=1e-6)


def test_larger_faces_weigh_more():
    vertices = np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 0]])
    normal = vertex_normals(vertices, np.array([[0, 1, 2], [0, 3, 1]]))[0]
    np.testing.assert_allclose(normal, np.array([1.0, 0, 3]) / np.sqrt(10), atol=1e-6)


def test_a_vertex_without_faces_gets_a_unit_normal():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    assert vertex_normals(vertices, np.array([[0, 1, 2]]))[3].tolist() == [0, 0, 1]
