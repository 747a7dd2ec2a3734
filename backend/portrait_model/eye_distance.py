# SPDX-License-Identifier: Apache-2.0
"""The real size of a rendered head, from the distance between its eyes."""

import numpy as np
from jaxtyping import Float, UInt8

from backend import face_mesh_points as points
from backend.camera import Camera
from backend.landmarks import detect_faces
from backend.pose import EYE_DISTANCE_M
from backend.raycast import sample_bilinear

# A distance further than this from the family's usual one is no pair of eyes.
MOST_DIFFERENT = 1.4
RIGHT_EYE = (points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER)
LEFT_EYE = (points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER)


def metres_per_unit(
    picture: UInt8[np.ndarray, "s s 3"], depth: Float[np.ndarray, "r r"], camera: Camera, *, usual: float
) -> float:
    """World unit in metres, so that the eyes' centres lie as far apart as people's pupils.

    Args:
        picture: Of a head, from its front.
        depth: Distance along each ray, world units, of any resolution.
        camera: Of both.
        usual: Answer where the picture shows no eyes, or none so far apart.
    """
    faces = detect_faces(picture)
    if not faces:
        return usual
    landmarks = faces[0].landmarks / len(picture)
    eyes = np.stack([landmarks[list(eye)].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE)])
    right, left = _lift(eyes, depth.astype(np.float64), camera)
    measured = EYE_DISTANCE_M / max(float(np.linalg.norm(left - right)), 1e-9)
    return measured if 1 / MOST_DIFFERENT < measured / usual < MOST_DIFFERENT else usual


def _lift(
    places: Float[np.ndarray, "n 2"], depth: Float[np.ndarray, "r r"], camera: Camera
) -> Float[np.ndarray, "n 3"]:
    """World points at image places, image widths."""
    side = len(depth)
    distance = sample_bilinear(depth[..., None], places[:, 0] * side, places[:, 1] * side)
    pixels = np.concatenate([places, np.ones((len(places), 1))], axis=1)
    directions = pixels @ np.linalg.inv(camera.intrinsics).T @ camera.cam2world[:3, :3].T
    return camera.position + distance * directions / np.linalg.norm(directions, axis=1, keepdims=True)
