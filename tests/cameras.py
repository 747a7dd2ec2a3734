# SPDX-License-Identifier: Apache-2.0
"""Cameras for tests."""

import math

import numpy as np

from backend.camera import Camera


def rolled(camera, roll_deg, *, at=None):
    """The camera turned about its own axis, with another principal point if one is given."""
    roll = math.radians(roll_deg)
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    cam2world, intrinsics = camera.cam2world.copy(), camera.intrinsics.copy()
    cam2world[:3, :3] = cam2world[:3, :3] @ turn
    if at is not None:
        intrinsics[:2, 2] = at
    return Camera(cam2world, intrinsics)
