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
    return {f"identity_{turn}": _distance(mesh, texture, turned(camera, turn), truth) for turn in TURNS_DEG}


def likeness_to_photo(
    mesh: Mesh,
    texture: UInt8[np.ndarray, "t t 3"],
    camera: Camera,
    portrait: UInt8[np.ndarray, "s s 3"],
) -> float:
    """As ``likeness``, from the portrait's own camera alone."""
    return _distance(mesh, texture, camera, _describe(portrait))


def _distance(
    mesh: Mesh, texture: UInt8[np.ndarray, "t t 3"], camera: Camera, truth: Float[np.ndarray, "128"] | None
) -> float:
    found = _describe(render_mesh(mesh, texture, camera, RENDER_PX, background=BACKGROUND))
    return 1.0 if truth is None or found is None else round(descriptor_distance(truth, found), 4)


def turned(camera: Camera, turn_deg: float) -> Camera:
    """The camera carried around the world's vertical axis through the head's origin, to +x for positive turns."""
    angle = np.radians(turn_deg)
    turn = np.eye(4)
    turn[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    return Camera(turn @ camera.cam2world, camera.intrinsics)


def _describe(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "128"] | None:
    faces = detect_faces(pixels)
    return descriptor(pixels, faces[0].landmarks) if faces else None
