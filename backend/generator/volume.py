# SPDX-License-Identifier: Apache-2.0
"""Images of a density and colour field: samples along rays, spread twice, and their composite.

Source:
    Mildenhall et al. 2020, NeRF, arXiv:2003.08934, sections 4 and 5.2, with the midpoint rule and the shifted
    softplus of Chan et al. 2022, EG3D, arXiv:2112.07945.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.generator.config import RenderConfig

# Points (b, n, 3) to density before activation (b, n) and colour features (b, n, c).
RawField = Callable[[Tensor], tuple[Tensor, Tensor]]


def activate_density(raw: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Density per world unit, from the decoder's raw output."""
    return functional.softplus(raw - 1)


@dataclass(frozen=True)
class Rays:
    """A batch of rays and their limits.

    Args:
        origins: World coordinates.
        directions: Unit vectors.
        near: Distance where sampling starts, world units.
        far: Distance where it ends.
    """

    origins: Float[Tensor, "b n 3"]
    directions: Float[Tensor, "b n 3"]
    near: Float[Tensor, "b n"]
    far: Float[Tensor, "b n"]

    def part(self, chosen: slice) -> "Rays":
        """Some rays of every sample of the batch."""
        return Rays(*(x[:, chosen] for x in (self.origins, self.directions, self.near, self.far)))

    def points(self, depths: Float[Tensor, "b n s"]) -> Float[Tensor, "b m 3"]:
        """World points at these distances, ray by ray; m is n times s."""
        points = self.origins[:, :, None] + depths[..., None] * self.directions[:, :, None]
        return points.flatten(1, 2)


@dataclass(frozen=True)
class Rendering:
    """What rays see.

    Args:
        features: Composite of the colour features, before any background.
        depth: Mean distance of what is seen, world units; the largest sampled distance where nothing is.
        opacity: Light absorbed, in [0, 1].
    """

    features: Float[Tensor, "b n c"]
    depth: Float[Tensor, "b n"]
    opacity: Float[Tensor, "b n"]


def render_rays(
    field: RawField,
    rays: Rays,
    config: RenderConfig,
    *,
    jitter: Float[Tensor, "b n s"] | None = None,
    u: Float[Tensor, "b n f"] | None = None,
) -> Rendering:
    """Render rays in two passes, a few at a time.

    Args:
        field: Raw density and colour features of points.
        rays: Any number.
        config: Sampling.
        jitter: Place of each coarse sample within its step, in [0, 1); the middle when omitted.
        u: Quantiles of the fine samples, in [0, 1); evenly spread when omitted.
    """
    count = rays.near.shape[1]
    samples = config.coarse_samples + config.fine_samples
    step = max(1, config.points_per_chunk // (samples * rays.near.shape[0]))
    parts = []
    for start in range(0, count, step):
        chosen = slice(start, start + step)
        chosen_jitter = None if jitter is None else jitter[:, chosen]
        chosen_u = None if u is None else u[:, chosen]
        parts.append(_render_part(field, rays.part(chosen), config, jitter=chosen_jitter, u=chosen_u))
    features, depth, opacity, nearest, farthest = zip(*parts, strict=True)
    # An empty ray has no depth; its NaN becomes the largest depth sampled anywhere, as in EG3D.
    depth_limited = torch.cat(depth, dim=1).nan_to_num(torch.inf)
    depth_limited = depth_limited.clamp(torch.stack(nearest).min(), torch.stack(farthest).max())
    return Rendering(torch.cat(features, dim=1), depth_limited, torch.cat(opacity, dim=1))


def _render_part(
    field: RawField, rays: Rays, config: RenderConfig, *, jitter: Tensor | None, u: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    depths = coarse_depths(rays.near, rays.far, config.coarse_samples, jitter=jitter, disparity=config.disparity)
    density, features = _evaluate(field, rays, depths)
    if config.fine_samples:
        with torch.no_grad():
            weights = segment_weights(depths, density)
            if u is None:
                u = torch.linspace(0, 1, config.fine_samples, device=depths.device).expand(*depths.shape[:2], -1)
            fine = fine_depths(depths, weights, u)
        fine_density, fine_features = _evaluate(field, rays, fine)
        depths, density = torch.cat([depths, fine], dim=-1), torch.cat([density, fine_density], dim=-1)
        features = torch.cat([features, fine_features], dim=2)
    features, depth, opacity = composite(depths, density, features)
    return features, depth, opacity, depths.min(), depths.max()


def _evaluate(field: RawField, rays: Rays, depths: Tensor) -> tuple[Tensor, Tensor]:
    density, features = field(rays.points(depths))
    return density.reshape(depths.shape), features.reshape(*depths.shape, -1)


def coarse_depths(
    near: Float[Tensor, "b n"],
    far: Float[Tensor, "b n"],
    samples: int,
    *,
    jitter: Float[Tensor, "b n s"] | None = None,
    disparity: bool = False,
) -> Float[Tensor, "b n s"]:
    """Evenly spread distances, each moved on by a share of a step.

    Both limits are counted in before the move, so the last distance may lie beyond `far` (as in EG3D).

    Args:
        near: First limit, world units.
        far: Second limit, world units.
        samples: Per ray, at least 2.
        jitter: Share of a step, in [0, 1); a half when omitted.
        disparity: Spread in inverse distance.
    """
    share = torch.arange(samples, device=near.device, dtype=near.dtype) / (samples - 1)
    moved = 0.5 if jitter is None else jitter
    near, far = near[..., None], far[..., None]
    if disparity:
        share = share + moved / (samples - 1)
        return 1 / ((1 - share) / near + share / far)
    return near + share * (far - near) + moved * ((far - near) / (samples - 1))


def segment_weights(
    depths: Float[Tensor, "b n s"], raw_density: Float[Tensor, "b n s"]
) -> Float[Tensor, "b n segment"]:
    """Share of a ray's light that each segment between neighbouring samples contributes.

    Args:
        depths: Rising along a ray, world units.
        raw_density: Before activation.
    """
    density = activate_density((raw_density[..., 1:] + raw_density[..., :-1]) / 2)
    alpha = 1 - _exact_exp(-density * depths.diff(dim=-1))
    kept = torch.cumprod(1 - alpha + 1e-10, dim=-1)
    return alpha * torch.cat([torch.ones_like(kept[..., :1]), kept[..., :-1]], dim=-1)


def _exact_exp(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    # 1 - exp(x) of a nearly empty segment keeps only the last digits, and processors differ in these; with exact
    # rounding the depth of a faint ray is the same everywhere. MPS has no double precision.
    return x.exp() if x.device.type == "mps" else x.double().exp().to(x.dtype)


def composite(
    depths: Float[Tensor, "b n s"], raw_density: Float[Tensor, "b n s"], features: Float[Tensor, "b n s c"]
) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Weighted sum of features along rays; the samples may come in any order.

    Returns:
        Features, mean depth (NaN where the ray is empty) and opacity.
    """
    sorted_depths, order = depths.sort(dim=-1)
    weights = segment_weights(sorted_depths, raw_density.gather(-1, order))
    # A segment has the mean feature of its ends: half of its weight goes to each.
    half = functional.pad(weights, (1, 1)) / 2
    shares = torch.zeros_like(depths).scatter(-1, order, half[..., 1:] + half[..., :-1])
    opacity = weights.sum(-1)
    # An empty ray divides by 1 instead: no NaN may stand where gradients pass, not even one that is replaced later.
    covered = opacity > 0
    depth = (shares * depths).sum(-1) / torch.where(covered, opacity, 1)
    depth = torch.where(covered, depth, torch.nan)
    return (shares[..., None, :] @ features).squeeze(-2), depth, opacity


def fine_depths(
    depths: Float[Tensor, "b n s"], weights: Float[Tensor, "b n segment"], u: Float[Tensor, "b n f"]
) -> Float[Tensor, "b n f"]:
    """Distances spread by the weights of the coarse segments.

    Weights are widened to their neighbours and lifted a little first, so that no part of the ray is left out but
    the last bin, which EG3D never reaches.

    Args:
        depths: Coarse ones, rising.
        weights: Of the segments between them.
        u: Quantiles in [0, 1).

    Source:
        Barron et al. 2021, Mip-NeRF, arXiv:2103.13415, section 3.1 (the widening).
    """
    widened = functional.max_pool1d(weights, 2, stride=1, padding=1)
    widened = (widened[..., 1:] + widened[..., :-1]) / 2 + 0.01
    bins = (depths[..., 1:] + depths[..., :-1]) / 2
    share = widened[..., 1:-1] + 1e-5
    cumulative = functional.pad((share / share.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    above = torch.searchsorted(cumulative, u.contiguous(), right=True)
    low = (above - 1).clamp(min=0)
    high = above.clamp(max=cumulative.shape[-1] - 1)
    start, rise = cumulative.gather(-1, low), cumulative.gather(-1, high) - cumulative.gather(-1, low)
    rise = torch.where(rise < 1e-5, 1.0, rise)
    bin_low, bin_high = bins.gather(-1, low), bins.gather(-1, high)
    return bin_low + (u - start) / rise * (bin_high - bin_low)
