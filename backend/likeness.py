# SPDX-License-Identifier: Apache-2.0
"""How much a finished head looks like the photo, by a face descriptor that no stage optimises."""

import numpy as np
from jaxtyping import Float, UInt8

from backend.camera import Camera
from backend.identity import descriptor, descriptor_distance
from backend.landmarks import detect_faces
from backend.mesh import Mesh
from backend.raycast import render_mesh

RENDER_PX = 384
TURNS_DEG = (0, -30, 30)
BACKGROUND = (128, 128, 128)


def likeness(
    mesh: Mesh,
    texture: UInt8[np.ndarray, "t t 3"],
    camera: Camera,
    portrait: UInt8[np.ndarray, "s s 3"],
) -> dict[str, float]:
    """Descriptor distances between the portrait and unlit renders of the head.

    Below 0.6 two pictures show the same person. A view in which no face is found scores 1.

    Args:
        mesh: The head where the camera sees it.
        texture: For its uv.
        camera: Of the portrait.
        portrait: What the camera saw.

    Returns:
        ``identity_0``, ``identity_-30`` and ``identity_30``: the camera turned around the head by so many degrees.
    """
    truth = _describe(portrait)
    scores = {}
    for turn in TURNS_DEG:
        picture = render_mesh(mesh, texture, turned(camera, turn), RENDER_PX, background=BACKGROUND)
        found = _describe(picture)
        distance = 1.0 if truth is None or found is None else descriptor_distance(truth, found)
        scores[f"identity_{turn}"] = round(distance, 4)
    return scores


def turned(camera: Camera, turn_deg: float) -> Camera:
    """The camera carried around the world's vertical axis through the head's origin, to +x for positive turns."""
    angle = np.radians(turn_deg)
    turn = np.eye(4)
    turn[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    return Camera(turn @ camera.cam2world, camera.intrinsics)


def _describe(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "128"] | None:
    faces = detect_faces(pixels)
    return descriptor(pixels, faces[0].landmarks) if faces else None
