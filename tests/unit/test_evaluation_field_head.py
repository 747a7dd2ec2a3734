# SPDX-License-Identifier: Apache-2.0
"""A ball whose colour is its place: what pictures of a field's surface show is known."""

import numpy as np
import pytest
import torch
import trimesh

from backend.camera import look_at_camera
from backend.evaluation.field_head import FieldHead
from backend.evaluation.registration import Similarity
from backend.mesh import Mesh

RADIUS = 0.1
SHIFT = np.array([0.0, 0.5, 0.0])


class PlaceField:
    """Colours of canonical places."""

    side, level = 0.4, 1.0

    def density(self, points):
        return (points.norm(dim=1) < RADIUS).float() * 2

    def color(self, points):
        return (points / (2 * RADIUS) + 0.5).clamp(0, 1)


@pytest.fixture(scope="module")
def ball():
    """Canonically around the origin, in the world above it."""
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    canonical, faces = np.asarray(sphere.vertices), np.asarray(sphere.faces)
    return FieldHead(Mesh(canonical + SHIFT, faces, None, None, canonical), PlaceField())


def camera(yaw_deg):
    return look_at_camera(yaw_deg=yaw_deg, pitch_deg=0, distance=1.0, focal=4.0, target=SHIFT)


def test_colours_are_asked_where_the_surface_is_in_the_field_s_own_space(ball):
    view = ball.view(camera(0), 65)
    np.testing.assert_allclose(view.color[32, 32], [127.5, 127.5, 255], atol=2)
    np.testing.assert_allclose(ball.view(camera(90), 65).color[32, 32], [255, 127.5, 127.5], atol=2)
    assert (view.color[0, 0] == 128).all()


def test_depth_and_normal_are_those_of_the_ball(ball):
    view = ball.view(camera(0), 65)
    assert view.depth[32, 32] == pytest.approx(1.0 - RADIUS, abs=1e-4)
    np.testing.assert_allclose(view.normal[32, 32], [0, 0, 1], atol=0.02)
    assert view.depth[0, 0] == np.inf
    assert (view.normal[0, 0] == 0).all()


def test_a_placed_head_looks_the_same_to_the_placed_camera(ball):
    angle = np.radians(40)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    similarity = Similarity(1.5, turn, np.array([0.3, -0.2, 0.1]))
    view, moved = ball.view(camera(10), 48), ball.placed(similarity).view(similarity.place_camera(camera(10)), 48)
    seen = np.isfinite(view.depth) & np.isfinite(moved.depth)
    assert seen.mean() > 0.2
    assert np.abs(view.color[seen].astype(int) - moved.color[seen]).max() <= 2
    np.testing.assert_allclose(moved.depth[seen], 1.5 * view.depth[seen], rtol=1e-4)


def test_a_mesh_without_its_canonical_places_is_a_mistake(ball):
    bare = FieldHead(Mesh(ball.mesh.vertices, ball.mesh.faces), ball.field)
    with pytest.raises(ValueError, match="space"):
        bare.view(camera(0), 9)


def test_a_view_of_nothing_is_grey(ball):
    aside = look_at_camera(yaw_deg=0, pitch_deg=0, distance=1.0, focal=4.0, target=SHIFT + np.array([5.0, 0, 0]))
    view = ball.view(aside, 8)
    assert (view.color == 128).all()
    assert not torch.isfinite(torch.from_numpy(view.depth)).any()
