# SPDX-License-Identifier: Apache-2.0
"""Phase B: patches of true pictures, rendered through the generator's field with samples near the true surface alone.

What no sample reaches - empty space, the unseen side - is left to the coloured points, which are learnt in the same
step: of the heads that are looked at, and of others that have no pictures, so that these are not forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from backend.generator.starter import HeadPlanes, StarterGenerator, ray_weights
from backend.training.true_pictures import TruePicture

BAND_M = 0.008  # Samples lie so far before and behind the surface.
PIXEL_WEIGHT, EDGE_WEIGHT, COARSE_WEIGHT = 1.0, 1.0, 0.5
COARSE_PX = (2, 4)


@dataclass(frozen=True)
class PatchConfig:
    """Sizes.

    Args:
        heads_per_step: Heads of a step's batch that are looked at; all of its heads give points.
        patch_px: Side of a patch, a multiple of ``COARSE_PX``.
        patches_per_head: In a step, each in a picture of its own.
        samples: Of a ray.
    """

    heads_per_step: int = 4
    patch_px: int = 32
    patches_per_head: int = 1
    samples: int = 8


@dataclass(frozen=True)
class PatchBatch:
    """Patches to be rendered; ``b`` heads with ``p`` patches each, one after another in ``m``; ``n`` rays a head.

    Args:
        points: Canonical sample points, from the camera on.
        spacing: Length of each sample's segment, metres.
        background: Behind each head, sRGB in [0, 1].
        color: What should be seen, on that background.
        weight: How much a pixel counts.
    """

    points: Float[Tensor, "b n s 3"]
    spacing: Float[Tensor, "b n s"]
    background: Float[Tensor, "b 1 3"]
    color: Float[Tensor, "m 3 k k"]
    weight: Float[Tensor, "m 1 k k"]


class Patches:
    """True pictures, from which patches are drawn.

    Args:
        pictures: For each head its views, as many of each.
        config: Sizes.
        device: Where patches are rendered.
    """

    def __init__(
        self, pictures: Sequence[Sequence[TruePicture]], config: PatchConfig, device: torch.device | str = "cpu"
    ) -> None:
        every = [picture for views in pictures for picture in views]
        self.config, self.device = config, torch.device(device)
        self.heads, self.views = len(pictures), len(pictures[0])
        self.color, self.depth, self.inside, self.weight = (
            torch.from_numpy(np.stack([getattr(picture, name) for picture in every]))
            for name in ("color", "depth", "inside", "weight")
        )
        cameras = [picture.camera for picture in every]
        self.origin = torch.from_numpy(np.stack([camera.position for camera in cameras])).float()
        to_world = [camera.cam2world[:3, :3] @ np.linalg.inv(camera.intrinsics) for camera in cameras]
        self.to_world = torch.from_numpy(np.stack(to_world)).float()

    def draw(self, heads: Int[Tensor, "b"], random: torch.Generator) -> PatchBatch:
        """Patches of some heads, the more often around a place the more it counts."""
        count, side = self.config.patches_per_head, self.config.patch_px
        view = torch.randint(0, self.views, (len(heads), count), generator=random)
        picture = (heads[:, None] * self.views + view).reshape(-1)
        row, column = self._places(picture, random)
        background = torch.rand((len(heads), 1, 3), generator=random)
        jitter = torch.rand((len(picture), side * side, self.config.samples), generator=random)
        picked = (picture[:, None, None], row[:, :, None], column[:, None, :])
        inside = self.inside[picked].float()[..., None]
        behind = background.repeat_interleave(count, 0)[:, :, None]
        color = self.color[picked].float() / 255 * inside + behind * (1 - inside)
        points, spacing = self._samples(picture, row, column, jitter)
        per_head = (len(heads), count * side * side, self.config.samples)
        return PatchBatch(
            points.reshape(*per_head, 3).to(self.device),
            spacing.reshape(per_head).to(self.device),
            background.to(self.device),
            color.permute(0, 3, 1, 2).to(self.device),
            self.weight[picked].float()[:, None].to(self.device),
        )

    def _places(self, picture: Int[Tensor, "m"], random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows and columns of one patch in each picture, drawn by weight."""
        size, side = self.weight.shape[1], self.config.patch_px
        chance = self.weight[picture].flatten(1).float()
        chance[chance.sum(1) == 0] = 1
        centre = torch.multinomial(chance, 1, generator=random).squeeze(1)
        steps = torch.arange(side)
        row = (centre // size - side // 2).clamp(0, size - side)
        column = (centre % size - side // 2).clamp(0, size - side)
        return row[:, None] + steps, column[:, None] + steps

    def _samples(
        self, picture: Tensor, row: Tensor, column: Tensor, jitter: Float[Tensor, "m n s"]
    ) -> tuple[Float[Tensor, "m n s 3"], Float[Tensor, "m n s"]]:
        """One sample in each part of the band around the true surface, anywhere in it."""
        size, count = self.color.shape[1], self.config.samples
        y, x = torch.broadcast_tensors(row[:, :, None], column[:, None, :])
        pixels = torch.stack([(x + 0.5) / size, (y + 0.5) / size, torch.ones(x.shape)], dim=-1).flatten(1, 2)
        directions = functional.normalize(pixels @ self.to_world[picture].transpose(1, 2), dim=-1)
        origin = self.origin[picture]
        surface = self.depth[picture[:, None, None], y, x].flatten(1).float() + origin.norm(dim=1, keepdim=True)
        part = 2 * BAND_M / count
        along = surface[..., None] - BAND_M + part * (torch.arange(count) + jitter)
        points = origin[:, None, None] + along[..., None] * directions[:, :, None]
        ends = surface[..., None] + BAND_M
        return points, torch.cat([along, ends], dim=-1).diff(dim=-1)


def render_patches(generator: StarterGenerator, heads: HeadPlanes, batch: PatchBatch) -> Float[Tensor, "m 3 k k"]:
    """What the generator shows in the patches' places."""
    points = batch.points.flatten(1, 2)
    outer, color = generator.decode(heads, points)
    with torch.no_grad():
        body = generator.body_distance(points.flatten(0, 1)).reshape(outer.shape)
        beyond = points.abs().amax(-1) - generator.config.side / 2
    distance = torch.maximum(torch.minimum(body, outer), beyond).reshape(batch.spacing.shape)
    share = ray_weights(distance, batch.spacing)
    seen = (share[..., None] * color.reshape(*batch.spacing.shape, 3)).sum(2)
    seen = seen + (1 - share.sum(-1, keepdim=True)) * batch.background
    return seen.reshape(batch.color.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)


def pixel_losses(made: Float[Tensor, "m 3 k k"], batch: PatchBatch) -> dict[str, Tensor]:
    """Weighted absolute differences: of pixels, of their slopes, and of two coarser scales."""
    error, weight = made - batch.color, batch.weight
    edges = [_mean(error.diff(dim=axis), weight.narrow(axis, 1, weight.shape[axis] - 1)) for axis in (2, 3)]
    coarse = [_mean(functional.avg_pool2d(error, scale), functional.avg_pool2d(weight, scale)) for scale in COARSE_PX]
    return {
        "pixel": PIXEL_WEIGHT * _mean(error, weight),
        "edge": EDGE_WEIGHT * torch.stack(edges).mean(),
        "coarse": COARSE_WEIGHT * torch.stack(coarse).sum(),
    }


def _mean(error: Float[Tensor, "m 3 h w"], weight: Float[Tensor, "m 1 h w"]) -> Tensor:
    return (error.abs() * weight).sum() / (3 * weight.sum()).clamp(min=1)
