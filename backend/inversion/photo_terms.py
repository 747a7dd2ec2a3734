# SPDX-License-Identifier: Apache-2.0
"""What every method pays for at the portraits' own cameras; background has no say."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from backend.inversion.method import Head, Perception, PosedPortrait

CONFIDENCE_SCALE = 0.2  # Mean difference of colour, in a picture that spans 2, at which confidence is 1 / e.


def masked_pixels(image: Float[Tensor, "b 3 s s"], portrait: PosedPortrait) -> Float[Tensor, ""]:
    """Mean squared difference per pixel of the mask."""
    difference = (portrait.mask * (image - portrait.image)).square().mean()
    return difference / portrait.mask.square().mean().clamp(min=1e-4)


def masked_distance(
    image: Float[Tensor, "b 3 s s"], portrait: PosedPortrait, perception: Perception
) -> Float[Tensor, ""]:
    """Perceptual distance of the masked pictures."""
    return perception.distance(image * portrait.mask, portrait.image * portrait.mask)


def photo_terms(
    head: Head,
    portraits: list[PosedPortrait],
    perception: Perception,
    *,
    size_px: int,
    pixel_weight: float = 1.0,
    superresolve: bool = True,
) -> dict[str, Tensor]:
    """Mean over the portraits of pixel and perceptual differences.

    Args:
        head: Rendered at each portrait's camera.
        portraits: Compared at the size of the pictures.
        perception: How.
        size_px: Side of the rendering.
        pixel_weight: Of the squared pixel differences.
        superresolve: Whether the final or the raw picture is compared.
    """
    pixels, distances = [], []
    for portrait in portraits:
        image = head.render(portrait.cameras, size_px=size_px, superresolve=superresolve).image
        seen = portrait.resized(image.shape[-1])
        pixels.append(pixel_weight * masked_pixels(image, seen))
        distances.append(masked_distance(image, seen, perception))
    return {"pixels": torch.stack(pixels).mean(), "perceptual": torch.stack(distances).mean()}


@torch.no_grad()
def confidence(head: Head, portraits: list[PosedPortrait], *, size_px: int) -> float:
    """How well the head shows the portraits, from 1 (all alike) down to 0.

    It knows nothing of what the portraits do not show.
    """
    worst = 0.0
    for portrait in portraits:
        image = head.render(portrait.cameras, size_px=size_px).image
        seen = portrait.resized(image.shape[-1])
        difference = (seen.mask * (image - seen.image).abs().mean(1, keepdim=True)).sum() / seen.mask.sum().clamp(min=1)
        worst = max(worst, float(difference))
    return math.exp(-worst / CONFIDENCE_SCALE)
