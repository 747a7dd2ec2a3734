# SPDX-License-Identifier: Apache-2.0
"""A fitted head's map between the world and canonical space, on the device and quick: lattices that are asked."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from backend.generator.starter import StarterGenerator
from backend.template import Deformation

INWARD_NODES = 65  # Of the map to canonical space.
SCAFFOLD_NODES = 49
# A shaped head may reach a little beyond the canonical cube.
WORLD_SHARE = 1.06
WALL_M = 0.004  # Nothing stands nearer to the cube's faces.
# Where hair and clothes can be the first thing seen: signed distances from the bare head.
DEEPEST_M, FARTHEST_M = -0.015, 0.09


@dataclass(frozen=True)
class Scaffold:
    """World nodes at which a head's distance is asked coarsely, to know where its surface is.

    Args:
        canonical: The nodes in canonical space, metres.
        body: Signed distance of the bare head there, metres.
        wall: Distance beyond the canonical cube there, metres, negative inside.
    """

    canonical: Float[Tensor, "r r r 3"]
    body: Float[Tensor, "r r r"]
    wall: Float[Tensor, "r r r"]

    @cached_property
    def asked(self) -> Bool[Tensor, "r r r"]:
        """Nodes where hair and clothes matter."""
        return (self.body > DEEPEST_M) & (self.body < FARTHEST_M) & (self.wall < 0)

    def mirrored(self) -> "Scaffold":
        """Of the mirrored body; the bare canonical head is symmetric."""
        canonical = self.canonical.flip(0) * _mirror(self.canonical)
        return Scaffold(canonical, self.body.flip(0), self.wall.flip(0))


@dataclass(frozen=True)
class HeadSpace:
    """The space around one fitted head.

    Args:
        side: Edge of the canonical cube, metres.
        inward: What to add to world points to be in canonical space, on a lattice over ``world_side``.
        outward: What to add to canonical points to be in the world, on a lattice over ``side``.
        scaffold: Coarse nodes over ``world_side``.
    """

    side: float
    inward: Float[Tensor, "x x x 3"]
    outward: Float[Tensor, "y y y 3"]
    scaffold: Scaffold

    @staticmethod
    def of(generator: StarterGenerator, deformation: Deformation) -> "HeadSpace":
        """Sample a head's deformation once.

        Args:
            generator: Knows the bare head, and on which device to be.
            deformation: Of the fitted head.
        """
        device, side = generator.body.device, deformation.side
        points = _nodes(INWARD_NODES, WORLD_SHARE * side)
        inward = torch.from_numpy(deformation.to_canonical(points) - points).float()
        outward = torch.from_numpy(deformation.lattice).float().to(device)
        inward = inward.reshape((INWARD_NODES,) * 3 + (3,)).to(device)
        coarse = torch.from_numpy(_nodes(SCAFFOLD_NODES, WORLD_SHARE * side)).float().to(device)
        canonical = coarse + _sampled(inward, coarse, WORLD_SHARE * side)
        body, wall = generator.body_distance(canonical), wall_distance(canonical, side)
        shape = (SCAFFOLD_NODES,) * 3
        scaffold = Scaffold(canonical.reshape(*shape, 3), body.reshape(shape), wall.reshape(shape))
        return HeadSpace(side, inward, outward, scaffold)

    @property
    def world_side(self) -> float:
        """Edge of the cube in the world that holds the head, metres."""
        return WORLD_SHARE * self.side

    def to_canonical(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """World points in canonical space."""
        return points + _sampled(self.inward, points[0], self.world_side)[None]

    def to_world(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """Canonical points in the world."""
        return points + _sampled(self.outward, points[0], self.side)[None]

    @cached_property
    def mirrored(self) -> "HeadSpace":
        """The space around the mirrored body."""
        inward, outward = (lattice.flip(0) * _mirror(lattice) for lattice in (self.inward, self.outward))
        return replace(self, inward=inward, outward=outward, scaffold=self.scaffold.mirrored())


def wall_distance(points: Float[Tensor, "*n 3"], side: float) -> Float[Tensor, "*n"]:
    """How far canonical points lie beyond the cube in which there is anything, metres, negative inside."""
    return points.abs().amax(-1) - side / 2 + WALL_M


def sample_distance(lattice: Float[Tensor, "r r r"], points: Float[Tensor, "n 3"], side: float) -> Float[Tensor, "n"]:
    """Trilinear values of a lattice over a cube; beyond it the nearest ones."""
    return _sampled(lattice[..., None], points, side)[:, 0]


def _sampled(lattice: Float[Tensor, "r r r c"], points: Float[Tensor, "n 3"], side: float) -> Float[Tensor, "n c"]:
    # grid_sample runs its first coordinate along the last axis.
    volume = lattice.permute(3, 2, 1, 0)[None]
    grid = (points * (2 / side))[None, None, None]
    values = functional.grid_sample(volume, grid, padding_mode="border", align_corners=True)
    return values[0, :, 0, 0].T


def _nodes(count: int, side: float) -> Float[np.ndarray, "n 3"]:
    axis = np.linspace(-side / 2, side / 2, count)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def _mirror(like: Tensor) -> Float[Tensor, "3"]:
    return like.new_tensor([-1.0, 1.0, 1.0])
