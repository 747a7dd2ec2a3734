# SPDX-License-Identifier: Apache-2.0
"""Vertex normals, volume and the checks of closed meshes."""

import numpy as np
import pytest

from backend.mesh import (
    Mesh,
    corner_fans,
    is_closed,
    is_manifold,
    mesh_quality,
    signed_volume,
    vertex_normals,
    weld,
)
from tests.analytic import box_mesh

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


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


def test_a_tetrahedron_has_a_sixth_of_the_cubes_volume():
    assert signed_volume(CORNERS, TETRAHEDRON) == pytest.approx(1 / 6)
    assert signed_volume(CORNERS, TETRAHEDRON[:, ::-1]) == pytest.approx(-1 / 6)
    assert signed_volume(CORNERS + 7, TETRAHEDRON) == pytest.approx(1 / 6)


def test_a_tetrahedron_is_closed_and_manifold():
    assert is_closed(TETRAHEDRON)
    assert is_manifold(TETRAHEDRON)


def test_a_missing_or_turned_face_opens_it():
    turned = TETRAHEDRON.copy()
    turned[0] = turned[0, ::-1]
    for faces in (TETRAHEDRON[1:], turned, TETRAHEDRON[:0]):
        assert not is_closed(faces)
    assert is_manifold(TETRAHEDRON[1:]), "an open mesh can be manifold"


def test_two_parts_that_share_a_vertex_are_closed_but_not_manifold():
    faces = np.concatenate([TETRAHEDRON, np.array([0, 4, 5, 6])[TETRAHEDRON]])
    assert is_closed(faces)
    assert not is_manifold(faces)
    assert corner_fans(faces).max() + 1 == 8


def test_two_parts_that_share_an_edge_are_not_manifold():
    faces = np.concatenate([TETRAHEDRON, np.array([0, 1, 4, 5])[TETRAHEDRON]])
    assert not is_closed(faces)
    assert not is_manifold(faces)


def test_copies_at_seams_are_welded():
    places, faces = weld(box_mesh())
    assert len(places) == 8
    assert is_closed(faces)


def test_the_quality_of_a_cube():
    assert mesh_quality(box_mesh()) == {
        "vertices": 8,
        "faces": 12,
        "watertight": True,
        "manifold": True,
        "euler": 2,
        "components": 1,
        "degenerate": 0,
    }


def test_the_quality_counts_parts_and_faces_without_area():
    vertices = np.concatenate([CORNERS, CORNERS + 3, [[9.0, 9, 9], [10, 10, 10], [11, 11, 11]]])
    faces = np.concatenate([TETRAHEDRON, TETRAHEDRON + 4, [[8, 9, 10]]])
    quality = mesh_quality(Mesh(vertices, faces))
    assert (quality["components"], quality["degenerate"], quality["watertight"]) == (3, 1, False)
