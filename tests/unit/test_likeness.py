# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend import likeness as module
from backend.camera import look_at_camera, project
from backend.likeness import likeness, turned
from backend.raycast import render_mesh
from tests.painted_head import camera_at, painted_head, painted_texture, true_paint
from tests.portraits import astronaut, needs_photo_models


def test_a_turned_camera_is_the_camera_at_another_yaw():
    for yaw_deg, pitch_deg, turn_deg in ((0, 0, 30), (20, -10, -30), (-40, 15, 100)):
        start = look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=1.3, focal=3.0)
        there = look_at_camera(yaw_deg=yaw_deg + turn_deg, pitch_deg=pitch_deg, distance=1.3, focal=3.0)
        np.testing.assert_allclose(turned(start, turn_deg).cam2world, there.cam2world, atol=1e-12)
        np.testing.assert_array_equal(turned(start, turn_deg).intrinsics, start.intrinsics)


def test_positive_turns_go_to_the_subjects_left():
    assert turned(look_at_camera(yaw_deg=0, pitch_deg=0, distance=1, focal=3), 30).position[0] > 0


def test_turns_add_up_and_a_full_one_is_none():
    camera = look_at_camera(yaw_deg=12, pitch_deg=7, distance=1, focal=3)
    np.testing.assert_allclose(turned(turned(camera, 25), 35).cam2world, turned(camera, 60).cam2world, atol=1e-12)
    np.testing.assert_allclose(turned(camera, 360).cam2world, camera.cam2world, atol=1e-12)


def test_the_axis_of_the_turn_keeps_its_place_in_the_picture():
    camera = look_at_camera(yaw_deg=12, pitch_deg=7, distance=1, focal=3)
    axis = np.array([[0.0, -0.1, 0.0], [0.0, 0.1, 0.0]])
    np.testing.assert_allclose(project(turned(camera, 50), axis)[0], project(camera, axis)[0], atol=1e-12)


def test_each_view_is_compared_with_the_portrait(monkeypatch):
    """With the mean colour as the descriptor, the score is the distance of the mean colours."""
    mesh = painted_head()
    texture = painted_texture(mesh, true_paint, 64)
    means = []

    def mean_color(pixels):
        means.append(pixels.reshape(-1, 3).mean(0) / 255)
        return np.pad(means[-1], (0, 125))

    monkeypatch.setattr(module, "_describe", mean_color)
    monkeypatch.setattr(module, "RENDER_PX", 48)
    portrait = render_mesh(mesh, texture, camera_at(0), 48, background=module.BACKGROUND)
    scores = likeness(mesh, texture, camera_at(0), portrait)
    assert list(scores) == ["identity_0", "identity_-30", "identity_30"]
    assert scores["identity_0"] == 0
    truth, *views = means
    for score, view in zip(scores.values(), views, strict=True):
        assert score == pytest.approx(np.linalg.norm(view - truth), abs=1e-4)


@needs_photo_models
def test_where_no_face_is_seen_the_score_is_the_worst(monkeypatch):
    monkeypatch.setattr(module, "TURNS_DEG", (0,))
    mesh = painted_head()
    texture = np.full((16, 16, 3), 90, np.uint8)
    scores = likeness(mesh, texture, camera_at(0), astronaut().pixels)
    assert scores == {"identity_0": 1.0}
