# SPDX-License-Identifier: Apache-2.0
"""Photos of one person up to where methods begin: the same crop, matte, camera and fit for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import UInt8

from backend.evaluation.cost import Cost, measured
from backend.landmarks import detect_face_among
from backend.mask import segment_head
from backend.photo import Photo
from backend.photo_weight import photo_weights
from backend.portrait_model.contract import Fit, PersonPhoto, PortraitModel


@dataclass(frozen=True)
class Prepared:
    """What every method is given.

    Args:
        photos: The main one first.
        fit: Cameras and first codes.
        cost: Of all that.
    """

    photos: list[PersonPhoto]
    fit: Fit[Any]
    cost: Cost


def prepare(model: PortraitModel[Any], files: Sequence[Photo]) -> Prepared:
    """Find the person, cut the portraits and fit the cameras.

    Raises:
        PhotoError: A photo shows no usable face.
    """

    def work() -> tuple[list[PersonPhoto], Fit[Any]]:
        portraits = [model.align(file, detect_face_among(file)[0]) for file in files]
        masks = [segment_head(portrait) for portrait in portraits]
        weights = photo_weights(portraits, masks)
        photos = [PersonPhoto(*one) for one in zip(files, portraits, masks, weights, strict=True)]
        return photos, model.fit(photos)

    (photos, fit), cost = measured(work)
    return Prepared(photos, fit, cost)


def as_photo(pixels: UInt8[np.ndarray, "h w 3"], name: str) -> Photo:
    """Pixels as if read from a file that says nothing of its lens."""
    return Photo(pixels, None, sha256(pixels.tobytes()).hexdigest(), name)
