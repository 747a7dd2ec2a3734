# SPDX-License-Identifier: Apache-2.0
"""A head before the photos of one person: a picture from each photo's place, compared in each photo's light."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.inversion.light import Light, lights
from backend.inversion.losses import photo_loss
from backend.inversion.view import PhotoRays, render_rays


@dataclass(frozen=True)
class Look:
    """What a head shows from the place of a photo.

    Args:
        color: In the main photo's light, sRGB.
        opacity: Of each ray.
        outer: Signed distance of hair and clothes at the samples, metres.
        light: Of the photo.
    """

    color: Float[Tensor, "n 3"]
    opacity: Float[Tensor, "n"]
    outer: Float[Tensor, "n s"]
    light: Light


def show(generator: StarterGenerator, head: HeadPlanes, views: Sequence[PhotoRays]) -> list[Look]:
    """Pictures of the head from the places of all photos."""
    pictures = [render_rays(generator, head, view) for view in views]
    found = lights([color for color, _, _ in pictures], [view.target for view in views])
    return [Look(*picture, light) for picture, light in zip(pictures, found, strict=True)]


def photo_terms(looks: Sequence[Look], views: Sequence[PhotoRays]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The averages of ``photo_loss`` over the photos, each in its light."""
    pairs = [
        photo_loss(look.light.put_on(look.color), look.opacity, view.target)
        for look, view in zip(looks, views, strict=True)
    ]
    return average([color for color, _ in pairs], views), average([outline for _, outline in pairs], views)


def average(values: Sequence[Float[Tensor, ""]], views: Sequence[PhotoRays]) -> Float[Tensor, ""]:
    """Mean over the photos, by their weights."""
    total = sum(view.weight for view in views)
    mean: Tensor = torch.stack([view.weight / total * value for value, view in zip(values, views, strict=True)]).sum()
    return mean
