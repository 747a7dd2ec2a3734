# SPDX-License-Identifier: Apache-2.0
"""EG3D's own way to place cameras and to write them as labels; published weights are conditioned on these."""

import math

import numpy as np
from jaxtyping import Float

from backend.camera import Camera

FFHQ_FOCAL = 4.2647  # Image widths; constant for every FFHQ portrait.


def pose_looking(forward: Float[np.ndarray, "3"], position: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """The level `cam2world` of a camera that looks along a direction, not straight up or down."""
    forward = forward / np.linalg.norm(forward)
    right = -np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    cam2world = np.eye(4)
    cam2world[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    cam2world[:3, 3] = position
    return cam2world


def orbit_pose(
    horizontal: float, vertical: float, *, pivot: Float[np.ndarray, "3"], radius: float
) -> Float[np.ndarray, "4 4"]:
    """The `cam2world` of a camera on a sphere around the origin that looks at a pivot.

    Args:
        horizontal: Radians; pi/2 is in front, more moves the camera to +x.
        vertical: Between 0 (above) and pi (below). The camera's height is linear in it, so it is an angle at
            pi/2 only.
        pivot: World units.
        radius: Distance from the origin, not from the pivot, world units.
    """
    vertical = min(max(vertical, 1e-5), math.pi - 1e-5)
    polar = math.acos(1 - 2 * vertical / math.pi)
    azimuth = math.pi - horizontal
    position = radius * np.array(
        [math.sin(polar) * math.cos(azimuth), math.cos(polar), math.sin(polar) * math.sin(azimuth)]
    )
    return pose_looking(pivot - position, position)


def fov_to_intrinsics(fov_deg: float) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of EG3D's "field of view", which is that of no image side: a factor of 1.414 lies between.

    Source:
        The rounded constants are EG3D's; 18.837 degrees gives 4.2634.
    """
    focal = 1 / (math.tan(fov_deg * 3.14159 / 360) * 1.414)
    return np.array([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])


def label_of(camera: Camera) -> Float[np.ndarray, "25"]:
    """The camera as EG3D's networks take it: pose, then lens, row by row."""
    return np.concatenate([camera.cam2world.ravel(), camera.intrinsics.ravel()])
