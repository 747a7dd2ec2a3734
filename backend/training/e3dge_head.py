# SPDX-License-Identifier: Apache-2.0
"""The starter's heads as the geometry-aware encoder learns from them: a distance in front of cameras, with a slope.

A head at rest in its own frame (metres): the template's codes carry points to canonical space, where the bare head and
the planes' outer surface are known. Everything is differentiable in the codes and in the planes.

Source:
    METHODS section 1.2, stage 1: surface points, normals and near-surface distances of the generator's own samples.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.template import LATTICE_NODES, Template, lattice_binding

INVERSE_STEPS, INVERSE_SHARE = 5, 0.8
WALL_M = 0.004  # Inside the cube's faces, where heads end.
LARGEST_MOVE_M = 0.03  # Codes carry nothing farther.
MOST_STEPS, STEP_SHARE = 40, 0.95
SHORTEST_STEP_M, LONGEST_STEP_M = 0.002, 0.03
HALVINGS = 5
COARSER, CLEARANCE_M = 4, 0.03
STENCIL_M = 0.0015


class ShapeSpace:
    """How codes move the space around the template, linearly, at the nodes of a lattice.

    Args:
        template: Shape and expression.
        side: Edge of the canonical cube, metres.
        device: Where heads are made.
    """

    def __init__(self, template: Template, side: float, device: torch.device) -> None:
        binding = lattice_binding(template, side)
        parts = [template.neutral[None], template.shape, template.expression]
        moves = np.stack([binding @ offsets for part in parts for offsets in part]).astype(np.float32)
        nodes = moves.reshape(len(moves), *(LATTICE_NODES,) * 3, 3)
        # grid_sample runs its first coordinate along the last axis.
        flat = torch.from_numpy(np.ascontiguousarray(nodes.transpose(0, 4, 3, 2, 1))).flatten(1).to(device)
        self.neutral, self.moves, self.side = flat[0], flat[1:], side

    def lattice(self, shape: Float[Tensor, "b k"], expression: Float[Tensor, "b e"]) -> Float[Tensor, "b 3 z y x"]:
        """Offsets of canonical space on the way to heads with these codes, metres."""
        offsets = self.neutral + torch.cat([shape, expression], dim=1) @ self.moves
        return offsets.unflatten(1, (3, *(LATTICE_NODES,) * 3))


@dataclass(frozen=True)
class ShapedHead:
    """A batch of heads at rest.

    Args:
        generator: Its weights stay.
        head: Planes and palettes.
        lattice: From ``ShapeSpace.lattice``.
    """

    generator: StarterGenerator
    head: HeadPlanes
    lattice: Float[Tensor, "b 3 z y x"]

    @classmethod
    def of(
        cls,
        generator: StarterGenerator,
        space: ShapeSpace,
        *,
        z: Float[Tensor, "b z_dim"],
        shape: Float[Tensor, "b k"],
        expression: Float[Tensor, "b e"],
    ) -> "ShapedHead":
        """The heads of codes."""
        return cls(generator, generator.planes(generator.map(z)), space.lattice(shape, expression))

    def to_canonical(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """Where points of the heads are in canonical space, by fixed-point iteration; see ``Deformation.to_canonical``.

        The slope is that of the last step: the change of the offsets from place to place, a tenth, is left out.
        """
        with torch.no_grad():
            canonical = points.clone()
            for _ in range(INVERSE_STEPS):
                canonical += INVERSE_SHARE * (points - self._offsets(canonical) - canonical)
        return points - self._offsets(canonical)

    def _offsets(self, canonical: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        grid = (canonical * (2 / self.generator.config.side))[:, :, None, None]
        sampled = functional.grid_sample(self.lattice, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return sampled[..., 0, 0].transpose(1, 2)

    def look(self, points: Float[Tensor, "b n 3"]) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"]]:
        """Signed distance to skin, hair or clothes, metres, and sRGB colour, at points of the heads."""
        canonical = self.to_canonical(points)
        outer, color = self.generator.decode(self.head, canonical)
        body = self.generator.body_distance(canonical.flatten(0, 1)).unflatten(0, canonical.shape[:2])
        wall = canonical.abs().amax(-1) - self.generator.config.side / 2 + WALL_M
        return torch.maximum(torch.minimum(body, outer), wall), color

    def distance(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n"]:
        """The first half of ``look``."""
        return self.look(points)[0]

    def slope(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """How the distance changes, by central differences; of length 1 where it is one. On the surface, its normal."""
        steps = STENCIL_M * torch.eye(3, device=points.device)
        around = torch.cat([steps, -steps])[:, None]
        values = self.distance((points[:, None] + around).flatten(1, 2)).unflatten(1, (6, -1))
        return ((values[:, :3] - values[:, 3:]) / (2 * STENCIL_M)).transpose(1, 2)

    @torch.no_grad()
    def trace(
        self,
        origin: Float[Tensor, "3"],
        directions: Float[Tensor, "n 3"],
        start: Float[Tensor, "n"] | None = None,
    ) -> Float[Tensor, "n"]:
        """How far along rays the first head of the batch is met; infinite where it is not.

        Args:
            origin: Of all rays, metres.
            directions: Unit vectors.
            start: What comes before is known to be empty; infinite for rays that meet nothing.

        Source:
            Hart 1996, Sphere tracing, The Visual Computer 12; the last step by bisection.
        """
        depth, far = _through_cube(origin, directions, self.generator.config.side / 2 + LARGEST_MOVE_M)
        if start is not None:
            depth = torch.maximum(depth, start)
        crossed = torch.zeros_like(depth, dtype=torch.bool)
        before = depth.clone()
        alive = torch.nonzero(depth < far)[:, 0]
        for _ in range(MOST_STEPS):
            if not len(alive):
                break
            at = depth[alive]
            here = self.distance((origin + at[:, None] * directions[alive])[None])[0]
            crossed[alive[here <= 0]] = True
            alive, at, here = alive[here > 0], at[here > 0], here[here > 0]
            before[alive] = at
            depth[alive] = at + (STEP_SHARE * here).clamp(SHORTEST_STEP_M, LONGEST_STEP_M)
            alive = alive[depth[alive] < far[alive]]
        met = torch.nonzero(crossed)[:, 0]
        found = torch.full_like(depth, torch.inf)
        found[met] = self._halved(origin, directions[met], before[met], depth[met])
        return found

    def picture_depth(self, origin: Float[Tensor, "3"], directions: Float[Tensor, "s s 3"]) -> Float[Tensor, "s s"]:
        """``trace`` for all pixels of a picture: a coarse one says first where each ray may begin."""
        coarse = self.trace(origin, directions[::COARSER, ::COARSER].flatten(0, 1))
        side = len(directions[::COARSER])
        nearest = -functional.max_pool2d(-coarse.reshape(1, 1, side, side), 3, 1, 1)[0, 0]
        fine = (nearest - CLEARANCE_M).repeat_interleave(COARSER, 0).repeat_interleave(COARSER, 1)
        size = len(directions)
        return self.trace(origin, directions.flatten(0, 1), fine[:size, :size].flatten()).unflatten(0, (size, size))

    def _halved(
        self, origin: Float[Tensor, "3"], directions: Float[Tensor, "n 3"], before: Tensor, behind: Tensor
    ) -> Float[Tensor, "n"]:
        """Where rays cross the surface between two depths, by bisection."""
        for _ in range(HALVINGS):
            middle = (before + behind) / 2
            is_in = self.distance((origin + middle[:, None] * directions)[None])[0] <= 0
            before, behind = torch.where(is_in, before, middle), torch.where(is_in, middle, behind)
        return (before + behind) / 2


def _through_cube(
    origin: Float[Tensor, "3"], directions: Float[Tensor, "n 3"], half: float
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Where rays enter and leave a cube about the origin; the entry is not before the start of the ray."""
    safe = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    one, other = (-half - origin) / safe, (half - origin) / safe
    return torch.minimum(one, other).amax(-1).clamp(min=0), torch.maximum(one, other).amin(-1)


def is_met(depth: Float[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
    """Which rays of ``ShapedHead.trace`` end on the head."""
    return depth.isfinite()
