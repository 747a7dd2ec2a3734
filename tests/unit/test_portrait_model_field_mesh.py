# SPDX-License-Identifier: Apache-2.0
"""A ball's mesh follows the ball as it grows, shifts and vanishes."""

import numpy as np
import pytest
import torch
import trimesh

from backend.mesh import Mesh
from backend.portrait_model.field_mesh import REACH_M, FieldMesh

RADIUS = 0.2


class Ball:
    """Density of a soft ball."""

    side, level = 0.8, 10.0

    def __init__(self, radius=RADIUS, shift=(0.0, 0.0, 0.0)):
        self.radius, self.shift = radius, torch.tensor(shift)

    def density(self, points):
        distance = (points - self.shift).norm(dim=1) - self.radius
        return 20 * torch.sigmoid(-distance / 0.003)

    def color(self, points):
        return torch.zeros_like(points)


@pytest.fixture(scope="module")
def mesh():
    """A ball 2 mm too small, as decimation leaves it, every vertex there twice as at a UV seam."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS - 0.002)
    vertices = np.concatenate([ball.vertices, ball.vertices]).astype(np.float32)
    faces = np.concatenate([ball.faces[::2], ball.faces[1::2] + len(ball.vertices)]).astype(np.int32)
    return FieldMesh(Mesh(vertices, faces), Ball(), 1.0)


def test_on_its_own_field_nothing_moves(mesh):
    np.testing.assert_allclose(mesh.moved_to(Ball()), mesh.surface.vertices, atol=1e-7)


@pytest.mark.parametrize("growth", [0.008, -0.008])
def test_it_grows_with_the_field_and_keeps_what_it_lacks(mesh, growth):
    moved = mesh.moved_to(Ball(RADIUS + growth))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), RADIUS - 0.002 + growth, atol=2e-4)


def test_a_shift_shows_where_the_surface_faces_it(mesh):
    moved = mesh.moved_to(Ball(shift=(0.0, 0.005, 0.0)))
    top = mesh.surface.vertices[:, 1].argmax()
    assert moved[top, 1] - mesh.surface.vertices[top, 1] == pytest.approx(0.005, abs=4e-4)
    side = np.abs(mesh.surface.vertices[:, 1]).argmin()
    assert np.linalg.norm(moved[side] - mesh.surface.vertices[side]) < 1e-3


def test_copies_at_a_seam_go_the_same_way(mesh):
    moved = mesh.moved_to(Ball(RADIUS + 0.004))
    half = len(moved) // 2
    np.testing.assert_array_equal(moved[:half], moved[half:])


def test_a_surface_out_of_reach_leaves_the_mesh_where_it_is(mesh):
    np.testing.assert_array_equal(mesh.moved_to(Ball(RADIUS + 3 * REACH_M)), mesh.surface.vertices)


def test_a_hole_in_the_other_surface_is_bridged(mesh):
    class Holed(Ball):
        def density(self, points):
            density = super().density(points)
            return torch.where((points[:, 2] > 0.18) & (points[:, 0].abs() < 0.03), 100.0, density)

    moved = mesh.moved_to(Holed(RADIUS + 0.006))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), RADIUS + 0.004, atol=2e-3)
