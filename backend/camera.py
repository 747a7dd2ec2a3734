# SPDX-License-Identifier: Apache-2.0
"""Pinhole cameras with OpenCV axes: x right, y down, z forward."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Camera:
    """A square pinhole camera.

    Args:
        cam2world: Camera axes and centre in world coordinates, world units.
        intrinsics: In image widths: focal lengths, skew and principal point; (0.5, 0.5) is the image centre.
    """

    cam2world: Float[np.ndarray, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]

    @property
    def position(self) -> Float[np.ndarray, "3"]:
        """Camera centre, world units."""
        return self.cam2world[:3, 3]


def look_at_camera(
    *, yaw_deg: float, pitch_deg: float, distance: float, focal: float, target: Float[np.ndarray, "3"] | None = None
) -> Camera:
    """A level camera on a sphere around a target.

    Args:
        yaw_deg: 0 is in front (+z); positive moves the camera to +x.
        pitch_deg: Positive moves the camera up; between -89 and 89.
        distance: From the target, world units.
        focal: Focal length in image widths.
        target: World point in the image centre; the origin when omitted.
    """
    centre = np.zeros(3) if target is None else np.asarray(target, dtype=np.float64)
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    backward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    forward = -backward
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cam2world = np.eye(4)
    cam2world[:3, :3] = np.stack([right, down, forward], axis=1)
    cam2world[:3, 3] = centre + distance * backward
    intrinsics = np.array([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])
    return Camera(cam2world, intrinsics)


def project(
    camera: Camera, points_world: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Where world points appear.

    Returns:
        Image positions in image widths (x right, y down, (0, 0) the top left corner) and depths along the
        optical axis in world units (positive in front of the camera).
    """
    rotation = camera.cam2world[:3, :3]
    points_camera = (points_world - camera.position) @ rotation
    depth = points_camera[:, 2]
    image = points_camera / depth[:, None] @ camera.intrinsics.T
    return image[:, :2], depth


def rays(camera: Camera, size_px: int) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "size size 3"]]:
    """Rays through the pixel centres of a square image.

    Returns:
        The camera centre and unit directions, both in world coordinates.
    """
    grid = (np.arange(size_px) + 0.5) / size_px
    image = np.stack(np.meshgrid(grid, grid), axis=-1)
    return camera.position, directions_through(camera, image.reshape(-1, 2)).reshape(size_px, size_px, 3)


def directions_through(camera: Camera, image: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Unit world directions of the rays through image positions.

    Args:
        camera: Where the rays start.
        image: In image widths.
    """
    to_world = camera.cam2world[:3, :3] @ np.linalg.inv(camera.intrinsics)
    directions = image @ to_world[:, :2].T + to_world[:, 2]
    return directions / np.sqrt(np.einsum("nc,nc->n", directions, directions))[:, None]
