# SPDX-License-Identifier: Apache-2.0
"""What every method pays for at the portraits' own cameras; background has no say."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from backend.generator.plane_generator import Images
from backend.inversion.method import Head, Perception, PosedPortrait

AGREEMENT_SCALE = 0.2  # Mean difference of colour, in a picture that spans 2, at which agreement is 1 / e.


def looks(head: Head, portraits: Sequence[PosedPortrait], *, size_px: int, superresolve: bool = True) -> list[Images]:
    """Pictures of the head at each portrait's camera; see ``Head.render``."""
    return [head.render(portrait.cameras, size_px=size_px, superresolve=superresolve) for portrait in portraits]


def photo_terms(
    pictures: Sequence[Images],
    portraits: Sequence[PosedPortrait],
    perception: Perception,
    *,
    pixel_weight: float = 1.0,
) -> dict[str, Tensor]:
    """Mean over the portraits of pixel and perceptual differences.

    Args:
        pictures: As ``looks`` makes them.
        portraits: Compared at the size of the pictures.
        perception: How.
        pixel_weight: Of the squared pixel differences.
    """
    pixels, distances = [], []
    for picture, portrait in zip(pictures, portraits, strict=True):
        seen = portrait.resized(picture.image.shape[-1])
        pixels.append(pixel_weight * masked_pixels(picture.image, seen))
        distances.append(perception.distance(picture.image * seen.shown, seen.image * seen.shown))
    return {"pixels": torch.stack(pixels).mean(), "perceptual": torch.stack(distances).mean()}


def masked_pixels(image: Float[Tensor, "1 3 s s"], portrait: PosedPortrait) -> Float[Tensor, ""]:
    """Mean squared difference per pixel that shows the head."""
    difference = (portrait.shown * (image - portrait.image)).square().mean()
    return difference / portrait.shown.square().mean().clamp(min=1e-4)


@torch.no_grad()
def agreement(head: Head, portraits: Sequence[PosedPortrait], *, size_px: int) -> float:
    """How well the head shows the portraits, from 1 (all alike) down to 0.

    It knows nothing of what the portraits do not show.
    """
    worst = 0.0
    for picture, portrait in zip(looks(head, portraits, size_px=size_px), portraits, strict=True):
        seen = portrait.resized(picture.image.shape[-1])
        difference = (picture.image - seen.image).abs().mean(1, keepdim=True)
        worst = max(worst, float((seen.shown * difference).sum() / seen.shown.sum().clamp(min=1)))
    return math.exp(-worst / AGREEMENT_SCALE)
