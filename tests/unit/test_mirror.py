# SPDX-License-Identifier: Apache-2.0
import numpy as np
import trimesh

from backend.mirror import closest_points, mirror_image
from backend.template import closest_barycentric
from tests.painted_head import painted_head


def test_closest_points_on_a_triangle_agree_with_a_fine_search():
    generator = np.random.default_rng(0)
    corners, points = generator.normal(size=(200, 3, 3)), 2 * generator.normal(size=(200, 3))
    weights = closest_barycentric(points, corners)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights.min() >= 0
    found = np.linalg.norm(np.einsum("nk,nkc->nc", weights, corners) - points, axis=1)
    a, b = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101))
    grid = np.stack([1 - a - b, a, b], axis=-1)[a + b <= 1 + 1e-9]
    searched = np.linalg.norm(np.einsum("gk,nkc->ngc", grid, corners) - points[:, None], axis=2).min(axis=1)
    assert (found <= searched + 1e-9).all()
    np.testing.assert_allclose(found, searched, atol=0.03)


def test_a_triangle_without_area_has_its_closest_point_on_an_edge():
    corners = np.array([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    weights = closest_barycentric(np.array([[1.5, 1.0, 0.0]]), corners)
    np.testing.assert_allclose(np.einsum("nk,nkc->nc", weights, corners), [[1.5, 0, 0]])


def test_the_distance_to_a_sphere_is_right():
    ball = trimesh.creation.icosphere(subdivisions=4)
    points = np.random.default_rng(0).normal(size=(300, 3))
    _, _, distance = closest_points(points, np.asarray(ball.vertices), np.asarray(ball.faces))
    np.testing.assert_allclose(distance, np.abs(np.linalg.norm(points, axis=1) - 1), atol=0.003)


def test_a_symmetric_head_mirrors_onto_itself_with_full_trust():
    mesh = painted_head()
    image = mirror_image(mesh.canonical, mesh.faces)
    opposite = image.carry(mesh.canonical.astype(np.float64))
    np.testing.assert_allclose(opposite, mesh.canonical * (-1, 1, 1), atol=1e-5)
    assert (image.trust > 0.99).mean() > 0.99


def test_a_bump_without_counterpart_is_not_trusted():
    mesh = painted_head()
    bump = np.exp(-(((mesh.canonical - (0.75, 0, 0.2)) / 0.12) ** 2).sum(axis=1))
    vertices = mesh.canonical + 0.5 * bump[:, None] * (1, 0, 0)
    trust = mirror_image(vertices, mesh.faces).trust
    assert trust[bump > 0.5].max() < 0.1
    assert np.median(trust[np.abs(mesh.canonical[:, 0]) < 0.5]) > 0.95
