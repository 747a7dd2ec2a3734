# SPDX-License-Identifier: Apache-2.0
"""Portraits of the small starter's egg in the colours of a description."""

import numpy as np
import torch

from backend.alignment import Portrait
from backend.camera import look_at_camera, project, rays
from backend.face_mesh_points import CHIN
from tests.small_examples import egg_hit
from tests.small_starter import AXES, front_points

SIZE = 96
CAMERA = look_at_camera(yaw_deg=-15, pitch_deg=5, distance=1.2, focal=3.6)


def portrait_of(starter, z):
    """The portrait and its matte."""
    points, seen = egg_hit(*rays(CAMERA, SIZE))
    with torch.no_grad():
        planes = starter.generator.planes(starter.generator.map(z))
        colors = starter.generator.decode(planes, torch.from_numpy(points.reshape(1, -1, 3)).float())[1]
    image = (2 * colors.clamp(0, 1) - 1).reshape(1, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()
    mask = torch.from_numpy(seen.astype(np.float32))[None, None]
    landmarks = project(CAMERA, front_points(478))[0] * SIZE
    landmarks[CHIN] = project(CAMERA, np.array([[0.0, -AXES[1], 0.0]]))[0][0] * SIZE
    return Portrait(image, np.eye(3), landmarks, np.zeros(478), torch.ones_like(mask)), mask
