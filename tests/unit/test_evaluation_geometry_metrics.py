# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import trimesh

from backend.evaluation.geometry_metrics import (
    cloud_distance,
    depth_error,
    flatness,
    nearest_on_surface,
    normal_error,
    sample_surface,
    smooth_normals,
    surface_error,
)
from backend.mesh import Mesh

EVERYWHERE = np.ones((8, 8), bool)


def square(side=2.0):
    """Two triangles around the origin in the plane z = 0, seen from +z."""
    half = side / 2
    vertices = np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]])
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


def ramp():
    """Depth that grows to the right."""
    return np.tile(np.linspace(1, 2, 8), (8, 1))


def test_a_shifted_scan_is_as_far_away_as_it_was_shifted():
    scan = np.random.default_rng(0).uniform(-0.9, 0.9, (500, 3)) * [1, 1, 0] + [0, 0, 0.002]
    error = surface_error(scan, *square())
    assert error == {"median": pytest.approx(0.002), "mean": pytest.approx(0.002), "std": pytest.approx(0, abs=1e-9)}


def test_distances_end_at_the_border_of_a_surface():
    distance, nearest = nearest_on_surface(np.array([[4.0, 0, 4.0]]), *square())
    assert distance[0] == pytest.approx(5)
    np.testing.assert_allclose(nearest[0], [1, 0, 0])


def test_depth_in_another_unit_from_another_zero_is_right():
    assert depth_error(ramp(), 7 - 3 * ramp(), EVERYWHERE)["rmse"] == pytest.approx(0, abs=1e-9)


def test_depth_off_by_one_up_and_down_is_off_by_one():
    checks = (-1.0) ** np.add.outer(np.arange(8), np.arange(8))
    error = depth_error(ramp() + checks, ramp(), EVERYWHERE)
    assert error["l1"] == pytest.approx(1, rel=0.01)
    assert error["rmse"] == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(("angle", "below"), [(5, (100, 100, 100)), (20, (0, 100, 100)), (40, (0, 0, 0))])
def test_turned_normals_are_off_by_the_turn(angle, below):
    truth, made = np.zeros((8, 8, 3)), np.zeros((8, 8, 3))
    truth[..., 2] = 1
    made[..., 0], made[..., 2] = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    error = normal_error(truth, made, EVERYWHERE)
    assert error["mean"] == pytest.approx(angle)
    assert (error["below_11"], error["below_22"], error["below_30"]) == below


def test_a_shifted_cloud_is_as_far_away_as_it_was_shifted():
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), axis=-1).reshape(-1, 3)
    scores = cloud_distance(grid, grid + np.array([0, 0, 0.1]), [0.05, 0.2])
    assert scores == {"chamfer": pytest.approx(0.1), "f_0": 0, "f_1": pytest.approx(100)}


def test_half_a_surface_is_precise_but_half_is_missing():
    line = np.stack([np.arange(100.0), np.zeros(100), np.zeros(100)], axis=1)
    assert cloud_distance(line, line[:50], [0.5])["f_0"] == pytest.approx(200 * 0.5 / 1.5)


def test_half_the_relief_is_half_as_deep_wherever_it_lies():
    assert flatness(ramp(), 3 + 0.5 * ramp(), EVERYWHERE) == pytest.approx(0.5)


def test_a_stray_pixel_makes_no_relief():
    made = ramp()
    made[0, 0] = 100
    assert flatness(ramp(), made, EVERYWHERE) == pytest.approx(1, abs=0.05)


def test_samples_lie_evenly_on_the_surface():
    places, normals, face = sample_surface(*square(), 20_000, np.random.default_rng(0))
    assert (np.abs(places[:, :2]) <= 1).all()
    np.testing.assert_allclose(places[:, 2], 0)
    np.testing.assert_allclose(normals, np.tile([0, 0, 1], (20_000, 1)))
    np.testing.assert_allclose(places.mean(0), 0, atol=0.02)
    assert np.bincount(face).tolist() == pytest.approx([10_000, 10_000], rel=0.05)


def test_normals_between_the_corners_of_a_sphere_point_outwards():
    ball = trimesh.creation.icosphere(subdivisions=3)
    triangle, shares = np.arange(50), np.full((50, 3), 1 / 3)
    centres = ball.vertices[ball.faces[:50]].mean(1)
    found = smooth_normals(Mesh(np.array(ball.vertices), np.array(ball.faces)), triangle, shares)
    np.testing.assert_allclose(found, centres / np.linalg.norm(centres, axis=1, keepdims=True), atol=0.01)
