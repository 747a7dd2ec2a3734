# SPDX-License-Identifier: Apache-2.0
"""Where to look along a ray: few samples around a starter head's first surface, which is found without gradients."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.generator.rays import camera_rays, cross_cube
from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.inversion.cameras import Cameras
from backend.inversion.starter_space import HeadSpace, sample_distance, wall_distance

MARCH_STEPS = 56
REACH_M = 0.02  # Rays that pass the head farther off show nothing of it.
# The scaffold may miss a thin sheet that it is so near to: a ray is searched from there to beyond its first surface.
THIN_M, BEYOND_M, LONGEST_SEARCH_M, SEARCH_STEPS = 0.01, 0.004, 0.05, 20
SHEET_M = 0.001  # Half of a sheet's thickness that falls between two steps of the search.
# Close together where the density changes; a few behind, for what shines through a thin lock.
NEAR_M, NEAR_SAMPLES = (-0.003, 0.005), 11
BEHIND_M = (0.0075, 0.012, 0.02, 0.034)


@dataclass(frozen=True)
class Samples:
    """Samples of the rays that can meet a head.

    Args:
        ray: Number of each ray among all rays of all cameras.
        along: Distances from the camera, rising, metres.
        spacing: Length of each sample's segment, metres.
        points: Canonical, metres.
    """

    ray: Int[Tensor, "k"]
    along: Float[Tensor, "k s"]
    spacing: Float[Tensor, "k s"]
    points: Float[Tensor, "k s 3"]


def union_distance(
    generator: StarterGenerator, outer: Float[Tensor, "n"], points: Float[Tensor, "n 3"]
) -> Float[Tensor, "n"]:
    """Signed distance of skin, hair and clothes together, inside the cube, metres.

    Args:
        generator: Knows the bare head.
        outer: Signed distance of hair and clothes, metres.
        points: Canonical.
    """
    with torch.no_grad():
        body, wall = generator.body_distance(points), wall_distance(points, generator.config.side)
    return torch.maximum(torch.minimum(body, outer), wall)


@torch.no_grad()
def coarse_distance(generator: StarterGenerator, head: HeadPlanes, space: HeadSpace) -> Float[Tensor, "r r r"]:
    """The head's signed distance at the scaffold's nodes, metres."""
    scaffold = space.scaffold
    outer = torch.full_like(scaffold.body, scaffold.body.max().item())
    outer[scaffold.asked] = generator.decode(head, scaffold.canonical[scaffold.asked][None])[0][0]
    return torch.maximum(torch.minimum(scaffold.body, outer), scaffold.wall)


@torch.no_grad()
def place_samples(
    generator: StarterGenerator, head: HeadPlanes, space: HeadSpace, *, cameras: Cameras, size_px: int
) -> Samples:
    """Samples around the first surface of each ray, or where it passes nearest."""
    origins, directions = (rays.flatten(0, 1) for rays in camera_rays(cameras.cam2world, cameras.intrinsics, size_px))
    coarse = coarse_distance(generator, head, space)
    start, end, hits = (limits[0] for limits in cross_cube(origins[None], directions[None], space.world_side))
    steps = torch.linspace(0, 1, MARCH_STEPS, device=start.device)
    along = torch.lerp(start[:, None], end[:, None], steps)
    distance = sample_distance(coarse, _points(origins, directions, along).flatten(0, 1), space.world_side)
    distance = distance.reshape(along.shape)
    begin, closest = _first_surface(along, distance - THIN_M)
    finish = torch.minimum(_first_surface(along, distance)[0] + BEYOND_M, begin + LONGEST_SEARCH_M)
    closest = torch.where(hits, closest, torch.inf)
    ray = torch.nonzero(closest <= closest.min().clamp(min=REACH_M))[:, 0]
    origins, directions = origins[ray], directions[ray]

    def exact(along: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
        points = space.to_canonical(_points(origins, directions, along).flatten(0, 1)[None])
        outer = generator.decode(head, points)[0][0]
        return union_distance(generator, outer, points[0]).reshape(along.shape)

    steps = torch.linspace(0, 1, SEARCH_STEPS, device=start.device)
    search = torch.lerp(begin[ray, None], torch.maximum(finish, begin + BEYOND_M)[ray, None], steps)
    place, _ = _first_surface(search, exact(search) - SHEET_M)
    near = torch.linspace(*NEAR_M, NEAR_SAMPLES, device=place.device)
    along = place[:, None] + torch.cat([near, place.new_tensor(BEHIND_M)])
    points = space.to_canonical(_points(origins, directions, along).flatten(0, 1)[None])[0]
    return Samples(ray, along, _spacing(along), points.reshape(*along.shape, 3))


def _points(
    origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], along: Float[Tensor, "n s"]
) -> Float[Tensor, "n s 3"]:
    return origins[:, None] + along[..., None] * directions[:, None]


def _first_surface(
    along: Float[Tensor, "n s"], distance: Float[Tensor, "n s"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Where each ray first goes inside, else where it passes nearest; and the smallest distance on the way."""
    inside = distance < 0
    closest, nearest = distance.min(1)
    first = torch.where(inside.any(1), inside.int().argmax(1), nearest)
    before = (first - 1).clamp(min=0)
    d0, d1, t0, t1 = (
        values.gather(1, index[:, None])[:, 0] for values in (distance, along) for index in (before, first)
    )
    crosses = (d0 > 0) & (d1 < 0)
    share = torch.where(crosses, d0 / (d0 - d1).clamp(min=1e-9), 1.0)
    return torch.lerp(t0, t1, share), closest


def _spacing(along: Float[Tensor, "k s"]) -> Float[Tensor, "k s"]:
    """Length of the part of a ray that is nearest to each sample."""
    middle = (along[:, 1:] + along[:, :-1]) / 2
    ends = torch.cat([along[:, :1], middle, along[:, -1:]], dim=1)
    return ends.diff(dim=1)
