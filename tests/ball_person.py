# SPDX-License-Identifier: Apache-2.0
"""A held-out person who is a bald ball in a shirt, turned aside: what is known of them needs no assets."""

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from backend import face_mesh_points as points
from backend.evaluation.held_out import HeldOutHead
from backend.evaluation.truth import TruthHead, head_frame
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


def ball_scene(skin=RED):
    """A ball of skin, its lower third clothed."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    canonical, faces = np.array(ball.vertices), np.array(ball.faces)
    is_top = canonical[faces][..., 1].max(1) < -0.05

    def paint(hits):
        albedo = np.where(is_top[hits.triangle][:, None], BLUE, skin).astype(np.float32)
        return Surface(albedo, np.zeros(len(albedo), np.float32))

    subject = Subject(placed(canonical), faces, np.full(len(faces), SOLID), paint)
    part = np.where(is_top, TOP, SKIN)
    return PortraitScene(subject, canonical, part, np.where(is_top, -1, np.arange(len(faces))))


def ball_truth(size_px=64):
    landmarks = np.zeros((478, 3))
    landmarks[points.NOSE_TIP] = 0, 0, RADIUS
    landmarks[points.CHIN] = 0, -0.04, 0.1
    landmarks[[points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER], 0] = 0.06, 0.024
    landmarks[[points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER], 0] = -0.06, -0.024
    person = ball_scene()
    item = HeldOutHead(0, 0.0, 0.0, 0.0, 50.0, 0.4)
    return TruthHead(item, person, placed(landmarks), head_frame(person), studio_light(), seed=1, size_px=size_px)
