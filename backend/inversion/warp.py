# SPDX-License-Identifier: Apache-2.0
"""A portrait as another camera would see it, where the head's depth says that both see the same point.

Source:
    Yin et al. 2023, 3D GAN inversion with facial symmetry prior (SPI), CVPR, section 3.3.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.inversion.cameras import Cameras, pixel_places
from backend.inversion.method import PosedPortrait

TOLERANCE = 0.05  # Sides of the canonical cube that two depths of one point may differ by.


@torch.no_grad()
def warp_portrait(
    portrait: PosedPortrait,
    depth: Float[Tensor, "1 1 r r"],
    cameras: Cameras,
    target_depth: Float[Tensor, "b 1 s s"],
    *,
    tolerance: float,
) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 1 s s"]]:
    """The portrait seen by other cameras, and the authentic mask: how far each pixel is to be believed.

    A pixel is authentic where its point lies in the portrait, on the head, and is the first thing seen there.

    Args:
        portrait: At any resolution.
        depth: Of the head at the portrait's camera, distance along the ray, world units.
        cameras: The others.
        target_depth: Of the head there.
        tolerance: Between the two depths of a point, world units.
    """
    size = target_depth.shape[-1]
    places = pixel_places(size, target_depth.device).expand(len(cameras), -1, -1)
    points = cameras.lift(places, target_depth.flatten(1))
    seen_at, distance = portrait.cameras.project(points.reshape(1, -1, 3))
    grid = (seen_at.reshape(len(cameras), size, size, 2) * 2 - 1).to(depth)
    inside = (grid.abs() <= 1).all(-1)[:, None]
    lit, shown, first = (
        _sample(values.expand(len(cameras), -1, -1, -1), grid)
        for values in (portrait.image * portrait.shown, portrait.shown, depth)
    )
    # Between head and background, the head's colour alone.
    image = lit / shown.clamp(min=1e-6)
    gap = (first - distance.reshape(first.shape)).abs()
    return image, shown * (inside & (gap < tolerance))


@torch.no_grad()
def is_hidden(
    points: Float[Tensor, "1 n 3"],
    portrait: PosedPortrait,
    depth: Float[Tensor, "1 1 r r"],
    *,
    tolerance: float,
) -> Float[Tensor, "n"]:
    """1 for world points that the portrait cannot show: behind what it shows, or beyond its border.

    Args:
        points: Anywhere.
        portrait: Whose camera looks.
        depth: Of the head at that camera.
        tolerance: How far behind the first surface a point may lie and still count as seen, world units.
    """
    seen_at, distance = portrait.cameras.project(points)
    grid = (seen_at * 2 - 1)[:, None]
    first, trust = (_sample(values, grid)[0, 0, 0] for values in (depth, portrait.trust))
    is_outside = (grid[0, 0].abs() > 1).any(-1)
    return ((distance[0] > first + tolerance) | is_outside | (trust < 0.5)).float()


def _sample(values: Float[Tensor, "b c s s"], grid: Float[Tensor, "b h w 2"]) -> Float[Tensor, "b c h w"]:
    return functional.grid_sample(values, grid, padding_mode="border", align_corners=False)
