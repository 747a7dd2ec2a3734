# SPDX-License-Identifier: Apache-2.0
"""Where the portrait shows no head there should be none, and where it shows one there should be no hole."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.generator.plane_generator import Images
from backend.inversion.method import Model, PosedPortrait

SILHOUETTE_WEIGHT = 0.25
# Image widths around the head's matte in which neither head nor empty space is asked for.
OUTLINE = 1 / 64
CLEAR = 0.05
FAINT = 1e-7  # Less opacity is none.
BEHIND = 0.3  # Sides of the cube behind the head's centre where a background inside the volume belongs.


def silhouette_loss(pictures: Sequence[Images], portraits: Sequence[PosedPortrait], model: Model) -> Float[Tensor, ""]:
    """Mean of ``picture_silhouette`` over a model's pictures at the portraits' own cameras."""
    losses = [
        picture_silhouette(picture, one, opacity_is_matte=model.opacity_is_matte, side=model.side)
        for picture, one in zip(pictures, portraits, strict=True)
    ]
    return torch.stack(losses).mean()


def matte_terms(
    pictures: Sequence[Images], portraits: Sequence[PosedPortrait], model: Model, *, weight: float
) -> dict[str, Float[Tensor, ""]]:
    """The silhouette's term for a model that shows the head alone.

    The published methods compare whole pictures, outline and background. Here background has no say; what is left of
    it is the outline. A model whose volume holds the background pays nothing, as published.
    """
    if not model.opacity_is_matte or not weight:
        return {}
    return {"silhouette": weight * silhouette_loss(pictures, portraits, model)}


def picture_silhouette(
    picture: Images, portrait: PosedPortrait, *, opacity_is_matte: bool, side: float
) -> Float[Tensor, ""]:
    """What stands where the portrait shows no head, and what is missing where it shows one; in shares of the picture.

    A generator whose volume holds the background as well may show something beside the head, but behind it.

    Args:
        picture: At the portrait's camera.
        portrait: Its matte says where; at the matte's edge nothing is asked.
        opacity_is_matte: As the model says.
        side: Edge of the canonical cube, world units.
    """
    seen = portrait.resized(picture.depth.shape[-1])
    reach = max(1, round(OUTLINE * picture.depth.shape[-1]))
    outside = (_spread(seen.mask, reach) < CLEAR) * seen.trust
    if not opacity_is_matte:
        behind = portrait.cameras.cam2world[0, :3, 3].norm() + BEHIND * side
        return (outside * functional.relu(behind - picture.depth)).sum() / side / outside.numel()
    inside = (_spread(1 - seen.mask, reach) < CLEAR) * seen.trust
    # The logarithm has a slope even where there is hardly any density, so that a head can grow into its matte.
    missing = picture.opacity.clamp(FAINT, 1).log() / math.log(FAINT)
    return (outside * picture.opacity + inside * missing).sum() / outside.numel()


def _spread(mask: Float[Tensor, "1 1 r r"], reach: int) -> Float[Tensor, "1 1 r r"]:
    """The largest value within some pixels."""
    return functional.max_pool2d(mask, 2 * reach + 1, stride=1, padding=reach)
