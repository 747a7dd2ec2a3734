# SPDX-License-Identifier: Apache-2.0
"""The real portrait of the tests, and the mark for tests that need the photo networks' weights."""

from functools import cache

import numpy as np
import pytest
import skimage.data
from PIL import Image

from backend.folders import PHOTO_MODELS, model_path
from backend.landmarks import Face, detect_faces
from backend.photo import Photo

needs_photo_models = pytest.mark.skipif(
    not all(model_path(name).is_file() for name in PHOTO_MODELS),
    reason="the photo models are not fetched; run scripts/fetch_photo_models.py",
)

HEAD = (slice(0, 300), slice(60, 360))  # Of the astronaut, in the picture.


def astronaut() -> Photo:
    """Eileen Collins, NASA, public domain."""
    return Photo(skimage.data.astronaut(), None, "0" * 64, "astronaut.png")


@cache
def astronaut_face() -> Face:
    """The face in it."""
    return detect_faces(skimage.data.astronaut())[0]


def small_faces(face_px: int, count: int = 1) -> np.ndarray:
    """The astronaut's head, its face about ``face_px`` wide, on a plain 1024 x 768 picture."""
    head = Image.fromarray(skimage.data.astronaut()[HEAD])
    side = round(300 * face_px / 92)
    picture = Image.new("RGB", (1024, 768), (90, 110, 120))
    for number in range(count):
        scaled = head.resize((side >> number, side >> number), Image.Resampling.LANCZOS)
        picture.paste(scaled, (40 + 420 * number, 200))
    return np.asarray(picture)
