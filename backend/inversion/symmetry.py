# SPDX-License-Identifier: Apache-2.0
"""Heads are nearly symmetric: how much a mirrored portrait is worth, and what the hidden side takes from the seen one.

Source:
    Yin et al. 2023, 3D GAN inversion with facial symmetry prior (SPI), CVPR, section 3.2.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from backend.inversion.losses import mirror_image
from backend.inversion.method import HeadField, PosedPortrait
from backend.inversion.warp import is_hidden

FRONTAL_YAW, YAW_SPREAD = 0.2, 0.29
LARGEST_WEIGHT, DENSITY_SCALE = 0.5, 2.7
SYMMETRY_POINTS = 4096
# Sides of the cube over which density is summed up to an opacity; about two cells of the planes.
OPACITY_REACH = 1 / 64


def mirror_weight(yaw: float) -> float:
    """Weight of a mirrored portrait as a second view: nothing for a frontal one, up to a half for a profile.

    The mirror image of a frontal photo has its own camera: it tells nothing new, and its asymmetry would contradict.
    The same holds for a photo of the back of the head.

    Args:
        yaw: Of the camera, radians.

    Source:
        The constants are those of SPI's published settings.
    """
    turned = min(abs(yaw) % (2 * math.pi), 2 * math.pi - abs(yaw) % (2 * math.pi))
    turned = min(turned, math.pi - turned)
    if turned < FRONTAL_YAW:
        return 0.0
    likelihood = math.exp(-((turned / YAW_SPREAD) ** 2) / 2) / (YAW_SPREAD * math.sqrt(2 * math.pi))
    return LARGEST_WEIGHT * (1 - likelihood / DENSITY_SCALE)


def symmetry_loss(
    head: HeadField,
    portrait: PosedPortrait,
    depth: Float[Tensor, "1 1 r r"],
    *,
    side: float,
    tolerance: float,
    random: torch.Generator,
) -> Float[Tensor, ""]:
    """What the portrait shows on one side should also stand on the other, where it shows nothing.

    The seen side is not pulled, and a side that the portrait shows itself is left alone: for a frontal photo the
    loss is 0.

    Args:
        head: Of the present planes.
        portrait: At any resolution.
        depth: Of the head at the portrait's camera.
        side: Edge of the canonical cube, world units.
        tolerance: As ``is_hidden`` takes it.
        random: Chooses the points.
    """
    places = torch.rand(1, SYMMETRY_POINTS, 2, generator=random).to(depth)
    grid = (places * 2 - 1)[:, None]
    distance, shown = (
        torch.nn.functional.grid_sample(values, grid, align_corners=False)[0, 0]
        for values in (depth.detach(), portrait.shown)
    )
    seen = head.to_canonical(portrait.cameras.lift(places, distance)).detach()
    other = mirror_image(seen)
    weight = is_hidden(head.to_world(other), portrait, depth, tolerance=tolerance) * (shown[0] > 0.5)
    with torch.no_grad():
        density, color = head.decode(seen)
    other_density, other_color = head.decode(other)
    reach = side * OPACITY_REACH
    difference = (color - other_color).abs().mean(-1)
    difference = difference + ((-density * reach).exp() - (-other_density * reach).exp()).abs()
    return (weight * difference[0]).sum() / len(weight)
