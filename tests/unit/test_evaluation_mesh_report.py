# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import trimesh

from backend.evaluation.mesh_report import crossing_edges, mesh_report, seam_jump, uv_area
from backend.mesh import Mesh

BLACK_AND_WHITE = np.zeros((16, 16, 3), np.uint8)
BLACK_AND_WHITE[:, 8:] = 255


def two_boxes(apart):
    boxes = [trimesh.creation.box((1, 1, 1)), trimesh.creation.box((0.5, 0.5, 3))]
    boxes[1].apply_translation([apart, 0.1, 0.03])
    vertices = np.concatenate([np.array(box.vertices) for box in boxes])
    return vertices, np.concatenate([np.array(boxes[0].faces), np.array(boxes[1].faces) + len(boxes[0].vertices)])


def quad(uv):
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), uv=np.array(uv, dtype=float))


def test_boxes_apart_do_not_cross():
    assert crossing_edges(*two_boxes(apart=3.0)) == 0


def test_a_bar_through_a_box_crosses_it_with_every_edge_that_meets_the_other():
    # The bar's four long edges and the diagonals of its four long sides, and the diagonals of the box's two ends.
    assert crossing_edges(*two_boxes(apart=0.0)) == 4 + 4 + 2


def test_a_sphere_does_not_cross_itself():
    ball = trimesh.creation.icosphere(subdivisions=3)
    assert crossing_edges(np.array(ball.vertices), np.array(ball.faces)) == 0


def test_half_of_the_texture_is_used():
    assert uv_area(quad([[0, 0], [0.5, 0], [0.5, 1], [0, 1]])) == pytest.approx(50)


def test_a_seam_between_black_and_white_jumps_by_all():
    first = quad([[0.1, 0.1], [0.3, 0.1], [0.3, 0.3], [0.1, 0.3]])
    vertices = np.concatenate([first.vertices, first.vertices + np.array([1, 0, 0])])
    uv = np.concatenate([first.uv, first.uv + np.array([0.6, 0])])
    mesh = Mesh(vertices, np.concatenate([first.faces, first.faces + 4]), uv=uv)
    assert seam_jump(mesh, BLACK_AND_WHITE) == pytest.approx(255)
    assert seam_jump(mesh, np.full((16, 16, 3), 77, np.uint8)) == 0
    assert seam_jump(first, BLACK_AND_WHITE) == 0


def test_an_open_sheet_is_reported_as_open():
    report = mesh_report(quad([[0, 0], [1, 0], [1, 1], [0, 1]]), BLACK_AND_WHITE)
    assert report["mesh_open"] == 1
    assert report["mesh_components"] == 1
    assert report["uv_area"] == pytest.approx(100)


def test_a_mesh_without_uv_is_refused():
    with pytest.raises(ValueError, match="uv"):
        uv_area(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])))
