# SPDX-License-Identifier: Apache-2.0
"""A person who is a bald ball in a shirt, turned aside: what is known of them without any assets."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from backend import face_mesh_points as points
from backend.camera import project
from backend.evaluation.held_out import HeldOutHead
from backend.evaluation.truth import FACE_RADIUS_M, TruthHead, head_frame
from backend.training.framing import HEAD_CENTRE_M
from backend.training.light import studio_light
from backend.training.pieces import SKIN, TOP
from backend.training.portraits import PortraitScene
from backend.training.subject import SOLID, Subject, Surface

RADIUS = 0.11
TURN = Rotation.from_euler("yz", [25, 5], degrees=True).as_matrix()
SHIFT = np.array([0.01, 0.02, -0.03])
RED, BLUE = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)


def placed(positions):
    return positions @ TURN.T + SHIFT


def scene():
    """A ball of skin, its lower third clothed."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    canonical, faces = np.array(ball.vertices), np.array(ball.faces)
    is_top = canonical[faces][..., 1].max(1) < -0.05

    def paint(hits):
        albedo = np.where(is_top[hits.triangle][:, None], BLUE, RED).astype(np.float32)
        return Surface(albedo, np.zeros(len(albedo), np.float32))

    subject = Subject(placed(canonical), faces, np.full(len(faces), SOLID), paint)
    part = np.where(is_top, TOP, SKIN)
    return PortraitScene(subject, canonical, part, np.where(is_top, -1, np.arange(len(faces))))


def truth():
    landmarks = np.zeros((478, 3))
    landmarks[points.NOSE_TIP] = 0, 0, RADIUS
    landmarks[points.CHIN] = 0, -0.04, 0.1
    landmarks[[points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER], 0] = 0.06, 0.024
    landmarks[[points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER], 0] = -0.06, -0.024
    person = scene()
    item = HeldOutHead(0, 0.0, 0.0, 0.0, 50.0, 0.4)
    return TruthHead(item, person, placed(landmarks), head_frame(person), studio_light(), seed=1, size_px=64)


def test_the_frame_is_the_turn_of_the_head():
    frame = head_frame(scene())
    np.testing.assert_allclose(frame.rotation, TURN, atol=1e-9)
    np.testing.assert_allclose(frame.shift, SHIFT, atol=1e-9)
    assert frame.scale == 1


def test_the_front_camera_looks_along_the_turned_head():
    camera = truth().studio_camera(0)
    np.testing.assert_allclose(camera.cam2world[:3, 2], -TURN[:, 2], atol=1e-9)
    image, _ = project(camera, placed(HEAD_CENTRE_M[None]))
    np.testing.assert_allclose(image, [[0.5, 0.5]], atol=1e-9)


@pytest.mark.parametrize("yaw", [-60, 30, 180])
def test_a_turned_front_camera_is_the_camera_of_that_yaw(yaw):
    turned, straight = truth().turned(truth().studio_camera(0), yaw), truth().studio_camera(yaw)
    np.testing.assert_allclose(turned.cam2world, straight.cam2world, atol=1e-9)


def test_lengths_are_those_of_a_head_with_63_mm_between_the_eyes():
    assert truth().mm_per_m == pytest.approx(63 / 0.084)


def test_head_and_face_are_what_they_should_be():
    view = truth().view(truth().studio_camera(0), 64)
    assert (view.face <= view.head).all()
    assert (view.head <= view.inside).all()
    assert view.face[32, 32]
    bottom = np.flatnonzero(view.inside[:, 32]).max()
    assert not view.head[bottom, 32]  # Clothes, below the chin.
    assert view.depth[32, 32] == pytest.approx(1.5 + HEAD_CENTRE_M[2] - RADIUS, abs=1e-3)
    assert view.color[32, 32, 0] > view.color[32, 32, 2]


def test_the_scanned_face_is_the_seen_skin_around_the_nose():
    person = truth()
    scan = (person.face_scan - SHIFT) @ TURN
    assert len(scan) > 1000
    np.testing.assert_allclose(np.linalg.norm(scan, axis=1), RADIUS, rtol=0.01)
    assert np.linalg.norm(scan - [0, 0, RADIUS], axis=1).max() < 1.1 * FACE_RADIUS_M
    assert scan[:, 1].min() > -0.06


def test_the_scanned_head_ends_below_the_chin():
    points_of_head = (truth().head_points - SHIFT) @ TURN
    assert points_of_head[:, 2].min() < -0.9 * RADIUS  # From behind too.
    assert points_of_head[:, 1].min() > -0.04 - 0.02 - 0.01


def test_the_photo_is_the_same_every_time():
    first, second = truth(), truth()
    assert first.photo.shape == (64, 64, 3)
    assert first.photo_sha256 == second.photo_sha256
