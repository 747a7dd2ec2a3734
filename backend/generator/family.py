# SPDX-License-Identifier: Apache-2.0
"""What the families of generators do differently with points, rays and colours, as `GeneratorConfig` says."""

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor

from backend.generator.config import GeneratorConfig
from backend.generator.planes import PlaneLookup
from backend.generator.rays import camera_rays, cube_limits
from backend.generator.volume import Rays, Rendering

EMPTY = -1000.0  # Raw density where nothing is.


def full_precision(x: Tensor) -> AbstractContextManager[None]:
    """Where 16 bits would not do: inside an autocast only the convolutions are computed with so few."""
    return torch.autocast(x.device.type, enabled=False)


def plane_lookup(config: GeneratorConfig, planes: Float[Tensor, "b 3 cd r r"], *, arrange: bool = True) -> PlaneLookup:
    """Planes of a configuration; see `PlaneLookup` for `arrange`."""
    return PlaneLookup(
        planes.float(), side=config.side, axes=config.plane_axes, depth=config.plane_depth, arrange=arrange
    )


def make_rays(
    config: GeneratorConfig, cam2world: Float[Tensor, "b 4 4"], intrinsics: Float[Tensor, "b 3 3"], size_px: int
) -> Rays:
    """Rays of square cameras with the configured limits."""
    origins, directions = camera_rays(cam2world, intrinsics, size_px)
    if config.render.near is None or config.render.far is None:
        return Rays(origins, directions, *cube_limits(origins, directions, config.side))
    near = torch.full_like(origins[..., 0], config.render.near)
    return Rays(origins, directions, near, torch.full_like(near, config.render.far))


def without_margin(
    config: GeneratorConfig, points: Float[Tensor, "*n 3"], raw: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """Raw density with the strip inside the cube's side walls emptied, where the configuration asks for it."""
    if config.empty_margin is None:
        return raw
    limit = config.side / 2 - config.empty_margin
    is_margin = (points[..., 0].abs() > limit) | (points[..., 2].abs() > limit)
    return torch.where(is_margin, EMPTY, raw)


def signed_features(rendering: Rendering, config: GeneratorConfig) -> Float[Tensor, "b n c"]:
    """Composite features over white or black, in about [-1, 1] where they were in [0, 1]."""
    background = 1 - rendering.opacity[..., None] if config.render.white_back else 0.0
    return signed_colors(rendering.features + background, config)


def signed_colors(features: Float[Tensor, "*n c"], config: GeneratorConfig) -> Float[Tensor, "*n c"]:
    """Features of a sigmoid from [0, 1] to [-1, 1]; others are left alone."""
    return 2 * features - 1 if config.feature_activation == "sigmoid" else features
