# SPDX-License-Identifier: Apache-2.0
"""What each of several photos of a person counts: a sharp photo that shows the whole face more than others."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from backend.alignment import Portrait

BLUR_PX = 1.5  # Of a portrait of 512 pixels; what is finer than this is lost in small and blurred photos.
SHARP_ENOUGH = 0.6  # A photo that has so much of the sharpest one's detail counts in full.
LEAST = 0.05


def photo_weights(portraits: Sequence[Portrait], masks: Sequence[Float[Tensor, "1 1 s s"]]) -> list[float]:
    """Weights in (0, 1], 1 for the best photo.

    Args:
        portraits: Of one person.
        masks: Share of the person in each of their pixels.
    """
    detail = np.array([_detail(portrait) for portrait in portraits])
    seen = np.array([_seen(portrait, mask) for portrait, mask in zip(portraits, masks, strict=True)])
    clear = np.minimum(1, detail / max(detail.max(), 1e-9) / SHARP_ENOUGH) * seen
    weights: list[float] = np.maximum(clear / max(clear.max(), 1e-9), LEAST).tolist()
    return weights if len(weights) > 1 else [1.0]


def _detail(portrait: Portrait) -> float:
    """Fine detail of the face, in shares of its contrast."""
    places = np.clip(portrait.landmarks.astype(int), 0, portrait.size_px - 1)
    (left, top), (right, bottom) = places.min(0), places.max(0) + 1
    grey = portrait.image[0].mean(0).numpy()[top:bottom, left:right]
    scale = portrait.size_px / 512
    return float((grey - gaussian_filter(grey, BLUR_PX * scale)).std() / max(float(grey.std()), 1e-3))


def _seen(portrait: Portrait, mask: Float[Tensor, "1 1 s s"]) -> float:
    """Share of the face's landmarks that lie on the person and in the photo."""
    column, row = np.clip(portrait.landmarks.astype(int), 0, portrait.size_px - 1).T
    return float((mask * portrait.coverage)[0, 0].numpy()[row, column].mean())
