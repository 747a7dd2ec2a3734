# SPDX-License-Identifier: Apache-2.0
"""What the starter's encoder says of a photo, as inversion uses it: a prior, a start, and a plane offset."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.alignment import Portrait
from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.inversion.looks import Look, photo_terms, show
from backend.inversion.parametric import LARGEST_SHAPE, CodePrior
from backend.inversion.view import PhotoRays
from backend.plane_lift import TRAINED_POINTS, PlaneLift, upsample_offset
from backend.starter_encoder import CodeEncoder, Encoding, encoder_input

# The encoder has seen the landmarks too; that they count twice is made up for.
WIDENED = 1.5
SOLID = 0.5


@torch.no_grad()
def encode_portrait(encoder: CodeEncoder, portrait: Portrait, mask: Float[Tensor, "1 1 s s"]) -> Encoding:
    """One pass over an aligned portrait."""
    device = encoder.center.device
    picture, landmarks = encoder_input(portrait, mask, encoder.config.size_px)
    encoding: Encoding = encoder(picture.to(device), landmarks.to(device))
    return encoding


def code_prior(encoding: Encoding) -> CodePrior:
    """What an encoder says of shape and expression, for the fit to the landmarks."""
    means = {name: value[0].double().cpu().numpy() for name, value in encoding.means.items()}
    deviations = {name: WIDENED * value[0].double().cpu().numpy() for name, value in encoding.deviations.items()}
    return CodePrior(
        np.clip(means["shape"], -LARGEST_SHAPE, LARGEST_SHAPE),
        np.clip(means["expression"], 0, 1),
        deviations["shape"],
        deviations["expression"],
    )


@torch.no_grad()
def lifted_offset(
    generator: StarterGenerator, lift: PlaneLift, head: HeadPlanes, views: Sequence[PhotoRays]
) -> Float[Tensor, "1 3 c r r"] | None:
    """The plane offset of one pass; None where it would show the photos worse than none.

    Args:
        generator: Renders.
        lift: The encoder's second stage.
        head: The first reconstruction.
        views: The photos, the main one first; their points are pooled together, the ones that count more, more.
    """
    looks = show(generator, head, views)
    seen = [_seen(*one) for one in zip(looks, views, strict=True)]
    points, photo, weight = (torch.cat(parts)[None] for parts in zip(*seen, strict=True))
    if not points.numel():
        return None
    shown = generator.decode(head, points)[1]
    coarse = lift(head, points, photo, weight, first=shown, side=generator.config.side)
    offset = upsample_offset(coarse, head.planes.shape[-1])
    before = sum(photo_terms(looks, views))
    after = sum(photo_terms(show(generator, head.moved(offset), views), views))
    return offset if after < before else None


def _seen(look: Look, view: PhotoRays) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Canonical points that a photo shows, their colours in the main photo's light, and the trust in each."""
    inside = torch.maximum(torch.minimum(view.body, look.outer), view.wall) < 0
    hit = inside.any(1) & (view.target.mask * view.target.weight > SOLID)
    first = inside.int().argmax(1)
    points = view.points[torch.arange(len(first), device=first.device), first][hit]
    weight = torch.full_like(points[..., 0], view.weight * TRAINED_POINTS / max(1, len(points)))
    return points, look.light.taken_off(view.target.color[hit]), weight
