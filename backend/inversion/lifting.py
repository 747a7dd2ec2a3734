# SPDX-License-Identifier: Apache-2.0
"""What the starter's encoder says of a photo, as inversion uses it: a prior, a start, and a plane offset."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.alignment import Portrait
from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.inversion.losses import photo_loss
from backend.inversion.parametric import LARGEST_SHAPE, CodePrior
from backend.inversion.view import PhotoRays, render_rays
from backend.plane_lift import PlaneLift, upsample_offset
from backend.starter_encoder import Encoding, StarterEncoder, encoder_input

# The encoder has seen the landmarks too; that they count twice is made up for.
WIDENED = 1.5
TRAINED_POINTS = 1536  # Seen points of a portrait in training.
SOLID = 0.5


@torch.no_grad()
def encode_portrait(encoder: StarterEncoder, portrait: Portrait, mask: Float[Tensor, "1 1 s s"]) -> Encoding:
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
    generator: StarterGenerator, lift: PlaneLift, head: HeadPlanes, view: PhotoRays
) -> Float[Tensor, "1 3 c r r"] | None:
    """The plane offset of one pass; None where it would show the photo worse than none.

    Args:
        generator: Renders.
        lift: The encoder's second stage.
        head: The first reconstruction.
        view: The photo.
    """
    color, opacity, outer = render_rays(generator, head, view)
    inside = torch.maximum(torch.minimum(view.body, outer), view.wall) < 0
    hit = inside.any(1) & (view.target.mask * view.target.weight > SOLID)
    if not hit.any():
        return None
    first = inside.int().argmax(1)
    points = view.points[torch.arange(len(first), device=first.device), first][hit][None]
    shown = generator.decode(head, points)[1]
    weight = torch.full_like(points[..., 0], TRAINED_POINTS / points.shape[1])
    photo = view.target.color[hit][None]
    coarse = lift(head, points, photo, weight, first=shown, side=generator.config.side)
    offset = upsample_offset(coarse, head.planes.shape[-1])
    moved_color, moved_opacity, _ = render_rays(generator, head.moved(offset), view)
    before = sum(photo_loss(color, opacity, view.target))
    after = sum(photo_loss(moved_color, moved_opacity, view.target))
    return offset if after < before else None
