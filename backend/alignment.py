# SPDX-License-Identifier: Apache-2.0
"""Cuts the square, upright portrait around a head out of a photo."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from backend import face_mesh_points as points
from backend.face_mesh import eye_roll_deg
from backend.landmarks import Face
from backend.photo import Photo
from backend.resample import sample_square, square_matrix, transform

SIDE_IN_FACES = 2.8  # Leaves 0.9 face heights above the hair line and below the chin: tall hair and some shoulder.


@dataclass(frozen=True)
class Portrait:
    """A head with hair and some shoulder, upright.

    Args:
        image: sRGB in [-1, 1].
        photo_to_portrait: Similarity from photo pixels to portrait pixels.
        landmarks: Portrait pixels; 478, or none in a picture of something else than a face.
        depth: Of the landmarks, portrait pixels, smaller is nearer to the camera.
        coverage: 1 where the photo shows something, 0 where its border was only drawn on.
    """

    image: Float[Tensor, "1 3 s s"]
    photo_to_portrait: Float[np.ndarray, "3 3"]
    landmarks: Float[np.ndarray, "n 2"]
    depth: Float[np.ndarray, "n"]
    coverage: Float[Tensor, "1 1 s s"]

    @property
    def size_px(self) -> int:
        """Width and height of the image."""
        return self.image.shape[-1]


def align_portrait(photo: Photo, face: Face, *, size_px: int = 512) -> Portrait:
    """The portrait of one face; where it leaves the photo, the photo's border goes on."""
    centre, height = head_place(face)
    portrait_to_photo = square_matrix(
        centre, SIDE_IN_FACES * height, roll_deg=eye_roll_deg(face.landmarks), size_px=size_px
    )
    return cut_portrait(photo, face, portrait_to_photo, size_px=size_px)


def cut_portrait(photo: Photo, face: Face, portrait_to_photo: Float[np.ndarray, "3 3"], *, size_px: int) -> Portrait:
    """Any square of a photo as a portrait of one of its faces.

    Args:
        photo: The photo.
        face: In the square.
        portrait_to_photo: Similarity from portrait pixels to photo pixels.
        size_px: Side of the portrait.
    """
    photo_to_portrait = np.linalg.inv(portrait_to_photo)
    image = sample_square(photo.pixels, portrait_to_photo, size_px, extend=True)
    depth = face.depth * float(np.hypot(*photo_to_portrait[:2, 0]))
    coverage = _coverage(photo.pixels, portrait_to_photo, size_px)
    return Portrait(image, photo_to_portrait, transform(photo_to_portrait, face.landmarks), depth, coverage)


def _coverage(
    pixels: UInt8[np.ndarray, "h w 3"], portrait_to_photo: Float[np.ndarray, "3 3"], size_px: int
) -> Float[Tensor, "1 1 s s"]:
    """Whether each portrait pixel's centre lies inside the photo."""
    steps = np.arange(size_px) + 0.5
    x, y = np.meshgrid(steps, steps)
    places = transform(portrait_to_photo, np.stack([x.ravel(), y.ravel()], axis=1))
    is_inside = ((places >= 0) & (places <= [pixels.shape[1], pixels.shape[0]])).all(1)
    return torch.from_numpy(is_inside.reshape(1, 1, size_px, size_px)).float()


def head_place(face: Face) -> tuple[Float[np.ndarray, "2"], float]:
    """The face's middle, and its height from hair line to chin without foreshortening, photo pixels.

    The cheeks lie near the ears, so their middle stays near the head's when it turns.
    """
    positions = np.column_stack([face.landmarks, face.depth])
    height = float(np.linalg.norm(positions[points.FOREHEAD_TOP] - positions[points.CHIN]))
    down = (face.landmarks[points.CHIN] - face.landmarks[points.FOREHEAD_TOP]) / 2
    roll = np.radians(eye_roll_deg(face.landmarks))
    along, across = np.array([np.cos(roll), np.sin(roll)]), np.array([-np.sin(roll), np.cos(roll)])
    cheeks = face.landmarks[[points.RIGHT_CHEEK, points.LEFT_CHEEK]].mean(0)
    middle = face.landmarks[points.FOREHEAD_TOP] + down
    return along * (along @ cheeks) + across * (across @ middle), height
