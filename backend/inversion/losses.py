# SPDX-License-Identifier: Apache-2.0
"""What refinement pays for."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.inversion.view import Target


def photo_loss(
    color: Float[Tensor, "n 3"], opacity: Float[Tensor, "n"], target: Target
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Difference in colour inside the matte, and of opacity to the matte (empty space outside the silhouette)."""
    inside = target.mask * target.weight
    color_part = ((color - target.color).abs().mean(-1) * inside).sum() / inside.sum().clamp(min=1)
    safe = opacity.clamp(1e-4, 1 - 1e-4)
    silhouette = functional.binary_cross_entropy(safe, target.mask, reduction="none")
    return color_part, (silhouette * target.outline).sum() / target.outline.sum().clamp(min=1)


def pattern_loss(color: Float[Tensor, "n 3"], target: Target) -> Float[Tensor, ""]:
    """Difference of light and dark inside the matte, each picture brought to mean 0 and spread 1 first.

    It tells where hair, skin and clothes lie before their colours are known.
    """
    inside = target.mask * target.outline
    total = inside.sum().clamp(min=1)

    def normalised(grey: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        centred = grey - (grey * inside).sum() / total
        return centred / ((centred.square() * inside).sum() / total).sqrt().clamp(min=0.02)

    difference = (normalised(color.mean(-1)) - normalised(target.color.mean(-1))).abs()
    return (difference * inside).sum() / total


def total_variation(planes: Float[Tensor, "b 3 c r r"]) -> Float[Tensor, ""]:
    """Mean squared step between neighbouring pixels."""
    return (planes.diff(dim=-1).square().mean() + planes.diff(dim=-2).square().mean()) / 2


def bare_face_loss(
    outer: Float[Tensor, "b n"], points: Float[Tensor, "b n 3"], *, clearance: float
) -> Float[Tensor, ""]:
    """Keeps hair and clothes off the middle of the face: they must stay ``clearance`` metres under the skin there.

    The parametric head is the depth guide on the face; only what hangs over its edge may come from the planes.
    """
    x, y, z = points.unbind(-1)
    oval = (x / 0.052).square() + ((y + 0.012) / 0.072).square()
    on_face = ((oval < 1) & (z > 0.06)).float()
    return (functional.relu(clearance - outer) * on_face).sum() / on_face.sum().clamp(min=1) / clearance


def geometry_loss(outer: Float[Tensor, "n s"], prior: Float[Tensor, "n s"], *, tolerance: float) -> Float[Tensor, ""]:
    """Squared departure of the outer surface from the generator's own, in tolerances.

    Args:
        outer: Signed distance now, metres.
        prior: Signed distance before refinement, metres.
        tolerance: A departure that costs 1, metres.
    """
    return ((outer - prior) / tolerance).square().mean()


def mirror_image(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Canonical points across the symmetry plane x = 0."""
    return points * torch.tensor([-1.0, 1.0, 1.0], device=points.device)
