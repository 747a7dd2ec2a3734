# SPDX-License-Identifier: Apache-2.0
"""A photo as rays through canonical space: sampled once around the known geometry, rendered at every step."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from backend.camera import Camera, rays
from backend.generator.starter import HeadPlanes, StarterGenerator, ray_weights
from backend.mesh import Mesh
from backend.raycast import Caster
from backend.template import Deformation

# Samples of a ray: most of them around the surface that is known, the rest through the whole head.
NEAR_SAMPLES, FAR_SAMPLES = 14, 10
NEAR_BAND_M = 0.009
OUTLINE_SOFTNESS_M = 0.004
WALL_M = 0.004
HEAD_RADIUS_M = 0.17
MARGIN_PX = 6
BELOW_CHIN = 0.1
# No hair of the heads that the generator has learnt stands farther than 0.08 from the bare head.
HAIR_REACH_M = 0.1


@dataclass(frozen=True)
class Target:
    """What the photo shows, at the resolution of the rays.

    Args:
        color: sRGB in [0, 1].
        mask: The head's matte, 0 to 1.
        weight: Trust in the pixel, 0 where the portrait reaches beyond the photo.
        outline: How much the silhouette counts there: little below the chin, where clothes end anywhere.
    """

    color: Float[Tensor, "n 3"]
    mask: Float[Tensor, "n"]
    weight: Float[Tensor, "n"]
    outline: Float[Tensor, "n"]


@dataclass(frozen=True)
class PhotoRays:
    """Rays of one photo.

    Args:
        points: Canonical sample points.
        spacing: Length of each sample's segment, metres.
        body: Signed distance of the bare head there.
        wall: Distance beyond the canonical cube, where nothing is; negative inside.
        target: What they should show.
        size_px: The rays come from a square picture of this side.
        index: Pixel of each ray in that picture, row by row.
        guide: Canonical points all over the head's first surface, seen or not.
        weight: What the photo counts beside others of the person, above 0.
        shape_trust: How much each ray's colour may move the surface, 0 to 1; all of it when omitted.
    """

    points: Float[Tensor, "n s 3"]
    spacing: Float[Tensor, "n s"]
    body: Float[Tensor, "n s"]
    wall: Float[Tensor, "n s"]
    target: Target
    size_px: int
    index: Int[np.ndarray, "n"]
    guide: Float[Tensor, "g 3"]
    weight: float = 1.0
    shape_trust: Float[Tensor, "n"] | None = None


def photo_rays(
    generator: StarterGenerator,
    deformation: Deformation,
    guide: Mesh,
    camera: Camera,
    *,
    image: Float[Tensor, "1 3 s s"],
    mask: Float[Tensor, "1 1 s s"],
    coverage: Float[Tensor, "1 1 s s"],
    chin: float,
    size_px: int,
    weight: float = 1.0,
) -> PhotoRays:
    """Sample the rays of a portrait that can meet the head.

    Args:
        generator: Knows the bare head.
        deformation: Of the fitted head.
        guide: Its first surface in canonical space; samples crowd around it.
        camera: Of the portrait.
        image: In [-1, 1].
        mask: The head's matte.
        coverage: Where the photo shows something.
        chin: Its height in the portrait, portrait widths from the top.
        size_px: Rays along an edge.
        weight: What the photo counts beside others of the person, above 0.
    """
    small = functional.interpolate(torch.cat([image, mask, coverage], dim=1), size=(size_px, size_px), mode="area")[0]
    origin, directions = rays(camera, size_px)
    flat = directions.reshape(-1, 3)
    caster = Caster(deformation.to_world(guide.vertices.astype(np.float64)), guide.faces)
    _, _, distance = caster.first_hit(origin[None], flat)
    matte = small[3].reshape(-1).numpy()
    wanted = np.flatnonzero(_near(np.isfinite(distance) | (matte > 0.05), size_px))
    depth = _sample_depths(distance[wanted], float(np.linalg.norm(origin)))
    spacing = np.diff(depth, axis=1, append=depth[:, -1:] + (depth[:, -1:] - depth[:, -2:-1]))
    world = origin + depth[..., None] * flat[wanted, None]
    canonical = torch.from_numpy(deformation.to_canonical(world.reshape(-1, 3))).float()
    body = generator.body_distance(canonical.to(generator.body.device))
    shape = depth.shape
    device = generator.body.device
    pixels = small.reshape(5, -1).T[torch.from_numpy(wanted)].to(device)
    row = torch.from_numpy((wanted // size_px + 0.5) / size_px).float().to(device)
    target = _target(pixels, row - chin, is_near=body.reshape(shape).amin(1) < HAIR_REACH_M)
    return PhotoRays(
        canonical.reshape(*shape, 3).to(device),
        torch.from_numpy(spacing).float().to(device),
        body.reshape(shape),
        (canonical.abs().amax(-1) - generator.config.side / 2 + WALL_M).reshape(shape).to(device),
        target,
        size_px,
        wanted,
        torch.from_numpy(guide.vertices).float().to(device),
        weight,
    )


def _target(pixels: Float[Tensor, "n 5"], below_chin: Float[Tensor, "n"], *, is_near: Bool[Tensor, "n"]) -> Target:
    """What pixels of colour, matte and coverage ask for: no hair far from the head, little outline below the chin."""
    known = (pixels[:, 4] > 0.99).float()
    outline = known * (1 - (1 - BELOW_CHIN) * (below_chin / 0.05).clamp(0, 1))
    return Target((pixels[:, :3] + 1) / 2, pixels[:, 3] * is_near.float(), known, outline)


def render_rays(
    generator: StarterGenerator, head: HeadPlanes, view: PhotoRays
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"], Float[Tensor, "n s"]]:
    """Colour (not multiplied by opacity), opacity, and the outer surface's signed distance at the samples.

    The opacity is a soft one, from the smallest distance along the ray, so that a silhouette that is off still has a
    slope. Source: Yariv et al. 2020, arXiv:2003.09852, equation 7.
    """
    outer, color = generator.decode(head, view.points.reshape(1, -1, 3))
    outer = outer.reshape(view.body.shape)
    distance = ray_distance(view, outer)
    weights = ray_weights(distance, view.spacing)
    if view.shape_trust is not None:
        trust = view.shape_trust[:, None]
        weights = trust * weights + (1 - trust) * weights.detach()
    mixed = (weights[..., None] * color.reshape(*view.body.shape, 3)).sum(1)
    opacity = torch.sigmoid(-distance.amin(-1) / OUTLINE_SOFTNESS_M)
    return mixed / weights.sum(-1).clamp(min=1e-4)[:, None], opacity, outer


def ray_distance(view: PhotoRays, outer: Float[Tensor, "n s"]) -> Float[Tensor, "n s"]:
    """Signed distance of the whole head at the samples, metres.

    Args:
        view: Knows the bare head.
        outer: Of hair and clothes.
    """
    return torch.maximum(torch.minimum(view.body, outer), view.wall)


def _near(seen: Bool[np.ndarray, "n"], size_px: int) -> Bool[np.ndarray, "n"]:
    """Pixels that are seen or a few pixels away from one that is."""
    grid = torch.from_numpy(seen.reshape(1, 1, size_px, size_px)).float()
    return functional.max_pool2d(grid, 2 * MARGIN_PX + 1, 1, MARGIN_PX).reshape(-1).numpy() > 0


def _sample_depths(surface: Float[np.ndarray, "n"], centre: float) -> Float[np.ndarray, "n s"]:
    """Sorted sample distances along each ray: through the head, and close together around its known surface."""
    hit = np.isfinite(surface)
    middle = np.where(hit, surface, centre)[:, None]
    band = np.where(hit, NEAR_BAND_M, HEAD_RADIUS_M)[:, None]
    near = middle + band * np.linspace(-1, 1, NEAR_SAMPLES)
    far = np.where(hit, surface, centre)[:, None] + np.linspace(-HEAD_RADIUS_M, HEAD_RADIUS_M, FAR_SAMPLES)
    far = np.where(hit[:, None], far, far + HEAD_RADIUS_M / FAR_SAMPLES)
    return np.sort(np.concatenate([near, far], axis=1), axis=1)
