# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from backend.camera import look_at_camera, project
from backend.evaluation.geometry_metrics import surface_error
from backend.evaluation.registration import Similarity, fit_similarity, register
from backend.mesh import Mesh


def moved(degrees=25.0, scale=0.8):
    return Similarity(scale, Rotation.from_euler("yx", [degrees, -10], degrees=True).as_matrix(), np.array([3.0, 1, 2]))


def lump():
    """A closed surface without symmetry, about 2 wide."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    x, y, z = (vertices := np.array(ball.vertices)).T
    radius = 1 + 0.15 * np.sin(3 * x + 1) + 0.1 * np.cos(4 * y) * z + 0.2 * x * y
    return vertices * radius[:, None] * [0.8, 1.2, 1.0], np.array(ball.faces)


def test_the_similarity_behind_matching_points_is_found():
    source = np.random.default_rng(0).normal(size=(20, 3))
    found = fit_similarity(source, moved().place(source))
    np.testing.assert_allclose(found.place(source), moved().place(source), atol=1e-9)
    assert found.scale == pytest.approx(0.8)


def test_a_mirror_image_is_met_by_a_turn_not_by_a_reflection():
    source = np.random.default_rng(0).normal(size=(20, 3))
    assert np.linalg.det(fit_similarity(source, source * [-1, 1, 1]).rotation) == pytest.approx(1)


def test_a_rigid_fit_keeps_the_size():
    source = np.random.default_rng(0).normal(size=(20, 3))
    assert fit_similarity(source, 2 * source, is_rigid=True).scale == 1


def test_a_moved_surface_comes_back_from_a_rough_start():
    vertices, faces = lump()
    scan = moved().place(vertices[::3])
    start = moved(degrees=31, scale=0.76)
    found = register(vertices, faces, scan, start)
    before = surface_error(scan, start.place(vertices), faces)["median"]
    after = surface_error(scan, found.place(vertices), faces)["median"]
    assert before > 0.03
    assert after < 0.002


def test_a_tenth_of_the_scan_may_show_something_else():
    vertices, faces = lump()
    scan = moved().place(vertices[::3])
    others = scan.copy()
    others[::12] += [0.4, 0.4, 0.4]
    found = register(vertices, faces, others, moved(degrees=27))
    assert surface_error(scan, found.place(vertices), faces)["median"] < 0.005


def test_the_placed_camera_sees_the_placed_mesh_as_before():
    vertices, faces = lump()
    camera = look_at_camera(yaw_deg=20, pitch_deg=5, distance=5, focal=2)
    mesh = moved().place_mesh(Mesh(vertices, faces))
    before, _ = project(camera, vertices)
    after, _ = project(moved().place_camera(camera), mesh.vertices)
    np.testing.assert_allclose(after, before, atol=1e-9)
