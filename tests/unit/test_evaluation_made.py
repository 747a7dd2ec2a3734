# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import trimesh

from backend.camera import look_at_camera
from backend.config import Settings
from backend.evaluation.made import MadeHead, NoFace, front_camera, identity_distance, seven_landmarks
from backend.evaluation.registration import Similarity
from backend.evaluation.single_photo import angle_at, picture_scores
from backend.evaluation.truth import TruthView, in_sight
from backend.mesh import Mesh
from backend.raycast import Caster
from tests.fake_pipeline import make_head
from tests.portraits import needs_photo_models

GREY = np.full((4, 4, 3), 200, np.uint8)


def ball(radius=0.1):
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    vertices, faces = np.array(sphere.vertices), np.array(sphere.faces)
    return Mesh(vertices, faces, vertices / radius, np.full((len(vertices), 2), 0.5))


def test_depth_and_normal_in_the_middle_of_a_ball():
    camera = look_at_camera(yaw_deg=30, pitch_deg=0, distance=1.0, focal=3)
    depth, normal = MadeHead(ball(), GREY).surface(camera, 33)
    assert depth[16, 16] == pytest.approx(0.9, abs=1e-3)
    np.testing.assert_allclose(normal[16, 16], [0.5, 0, np.sqrt(3) / 2], atol=0.01)
    assert np.isinf(depth[0, 0])
    assert not normal[0, 0].any()


def test_a_placed_head_looks_the_same_to_the_placed_camera():
    turn = Similarity(2.0, np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), np.array([1.0, 2, 3]))
    camera = look_at_camera(yaw_deg=10, pitch_deg=0, distance=1.0, focal=3)
    head = MadeHead(ball(), GREY)
    np.testing.assert_array_equal(head.view(camera, 16), head.placed(turn).view(turn.place_camera(camera), 16))


def test_the_front_camera_shows_the_same_in_any_unit():
    metres, units = front_camera(1.0, 30), front_camera(0.25, 30)
    first = MadeHead(ball(0.1), GREY).view(metres, 16)
    np.testing.assert_array_equal(first, MadeHead(ball(0.4), GREY).view(units, 16))


def test_a_view_without_a_face_is_somebody_else():
    someone = np.zeros(128)
    assert identity_distance(someone, None) == identity_distance(None, someone) == 1
    assert identity_distance(someone, someone) == 0
    assert identity_distance(someone, someone + 9) == 1


@needs_photo_models
def test_a_head_without_a_face_is_said():
    with pytest.raises(NoFace, match="No face"):
        seven_landmarks(make_head(Settings(), photo_sha256="0" * 64))


def test_half_of_a_ball_is_in_sight_and_all_of_it_from_both_sides():
    mesh = ball()
    normals = mesh.vertices / 0.1
    caster = Caster(mesh.vertices, mesh.faces)
    front = in_sight(mesh.vertices, normals, caster, np.array([[0.0, 0, 1]]))
    np.testing.assert_array_equal(front, normals[:, 2] > 0.05)
    both = in_sight(mesh.vertices, normals, caster, np.array([[0.0, 0, 1], [0, 0, -1]]))
    assert both[np.abs(normals[:, 2]) > 0.05].all()


def test_what_stands_before_a_surface_hides_it():
    small, large = ball(0.1), ball(0.3)
    shifted = large.vertices + np.array([0, 0, 1.0])
    caster = Caster(
        np.concatenate([small.vertices, shifted]), np.concatenate([small.faces, large.faces + len(shifted)])
    )
    assert not in_sight(small.vertices, small.vertices / 0.1, caster, np.array([[0.0, 0, 1]])).any()


def test_an_angle_knows_nothing_of_distance():
    centre = np.array([1.0, 1, 1])
    ahead, above = np.array([0, 0, 1.0]), np.array([0, 1.0, 1.0])
    assert angle_at(centre, centre + 5 * ahead, centre + 2 * above) == pytest.approx(45)
    assert angle_at(centre, centre + 5 * ahead, centre + 0.1 * ahead) == pytest.approx(0, abs=1e-6)


def test_pictures_are_scored_in_the_regions_of_the_truth():
    color, half = np.full((256, 256, 3), 100, np.uint8), np.zeros((256, 256), bool)
    half[:, :128] = True
    made = color.copy()
    made[:, 192:] = 151  # A fifth of the range, on a quarter of the picture, outside the head.
    depth, normal = np.ones((256, 256)), np.zeros((256, 256, 3))
    scores = picture_scores(TruthView(color, half, half, half, depth, normal), made)
    assert scores["psnr_head"] == np.inf
    assert scores["mse"] == pytest.approx(0.04 / 4)
    assert scores["psnr"] == pytest.approx(20)
    nothing = np.zeros((256, 256), bool)
    assert picture_scores(TruthView(color, half, nothing, nothing, depth, normal), made)["psnr_head"] is None
