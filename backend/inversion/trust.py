# SPDX-License-Identifier: Apache-2.0
"""What of a photo a head's shape may answer to: what a likely head explains, and not hands, hats or stray light.

Colours that the head's codes leave unexplained may still be painted on, but move no surface; an outline that stands
far off the head draws no hair after it.

Source:
    Geman and McClure 1987, Statistical methods for tomographic image reconstruction (the weight of a residual).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.inversion.looks import Look, show
from backend.inversion.view import PhotoRays, ray_distance

COLOR_SCALE = 0.12  # Mean difference of sRGB in [0, 1] at which trust is a quarter.
TYPICAL = 3.0  # In median differences: in strange light all of a photo differs.
REACH_M = 0.03  # As far off the head an outline's trust is a quarter.
SOLID = 0.5


@torch.no_grad()
def trusted(generator: StarterGenerator, head: HeadPlanes, views: Sequence[PhotoRays]) -> list[PhotoRays]:
    """The photos with as much say in the shape as a head explains of them.

    Args:
        generator: Renders.
        head: As its codes alone show the photos.
        views: The photos.
    """
    return [_trusted(view, look) for view, look in zip(views, show(generator, head, views), strict=True)]


def _trusted(view: PhotoRays, look: Look) -> PhotoRays:
    target = view.target
    is_shown = (target.mask > SOLID) & (target.weight > SOLID) & (look.opacity > SOLID)
    difference = (look.light.put_on(look.color) - target.color).abs().mean(-1)
    usual = float(difference[is_shown].median()) if is_shown.any() else 0.0
    trust = torch.where(is_shown, robust_weight(difference, max(COLOR_SCALE, TYPICAL * usual)), 1.0)
    gap = ray_distance(view, look.outer).amin(-1).clamp(min=0)
    outline = target.outline * torch.where(target.mask > SOLID, robust_weight(gap, REACH_M), 1.0)
    return replace(view, target=replace(target, outline=outline), shape_trust=trust)


def robust_weight(residual: Float[Tensor, "n"], scale: float) -> Float[Tensor, "n"]:
    """1 for no residual, a quarter at the scale, and soon nothing beyond."""
    return (1 + (residual / scale).square()) ** -2
