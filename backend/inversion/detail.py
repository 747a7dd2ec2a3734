# SPDX-License-Identifier: Apache-2.0
"""The photos' detail as an offset that colours alone see: the last stage of refinement, on a surface that stays.

Where a ray meets the head is known by then, so a step needs a few points of each ray and no pass through the
generator.

Source:
    Lan et al. 2023, E3DGE, CVPR (detail that touches appearance only; here it is found on the photo instead of
    predicted); Yin et al. 2023, SPI, CVPR (symmetry prior).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from backend.generator.starter import HeadPlanes, StarterGenerator, ray_weights
from backend.inversion.descent import Descent, descend
from backend.inversion.looks import Look, show
from backend.inversion.losses import mirror_image, total_variation
from backend.inversion.method import Step
from backend.inversion.trust import robust_weight
from backend.inversion.view import PhotoRays, ray_distance
from backend.plane_lift import upsample_offset

DETAIL_SCALE = 2  # The offset is found at this part of the planes' resolution.
DETAIL_RATE = 0.03
SECOND_MOMENT = 0.99
SYMMETRY_WEIGHT, KEEP_WEIGHT, SMOOTH_WEIGHT, SIZE_WEIGHT = 0.3, 0.5, 0.5, 0.02
FAINT = 0.02  # Samples that make up less of a ray's colour are left out.
SOLID = 0.5
# Cosine between ray and surface below which nothing is believed, and above which everything.
LEAST_FACING, SQUARE_FACING = 0.5, 0.85
STRANGE, LEAST_BELIEF = 0.15, 0.25  # A mean difference of sRGB in [0, 1] that leaves a quarter of belief; less is none.
EDGE_PX, EDGE_M = 1, 0.035
UNSEEN_M = 0.012
PRIOR_POINTS, NEIGHBOURS = 4000, 4000


@dataclass(frozen=True)
class Evidence:
    """What one photo tells of the surface.

    Args:
        points: Canonical samples that make up its rays.
        share: Of each sample in its ray's colour.
        ray: Of each sample.
        color: What each ray shows, in the main photo's light, sRGB.
        trust: In each ray; sums to the photo's weight.
        surface: One canonical point of each ray.
    """

    points: Float[Tensor, "p 3"]
    share: Float[Tensor, "p"]
    ray: Int[Tensor, "p"]
    color: Float[Tensor, "n 3"]
    trust: Float[Tensor, "n"]
    surface: Float[Tensor, "n 3"]

    def loss(self, color: Float[Tensor, "p 3"]) -> Float[Tensor, ""]:
        """Mean difference of the rays' colours, for colours of the samples."""
        shown = torch.zeros_like(self.color).index_add(0, self.ray, self.share[:, None] * color)
        return ((shown - self.color).abs().mean(-1) * self.trust).sum()


@dataclass(frozen=True)
class Expected:
    """Colours that are expected at places that no photo shows.

    Args:
        places: Canonical.
        color: sRGB.
    """

    places: Float[Tensor, "n 3"]
    color: Float[Tensor, "n 3"]

    def loss(self, generator: StarterGenerator, head: HeadPlanes, random: torch.Generator) -> Float[Tensor, ""]:
        """Mean difference at some of the places."""
        if not len(self.places):
            return self.color.new_zeros(())
        chosen = torch.randint(len(self.places), (PRIOR_POINTS,), generator=random).to(self.places.device)
        return (generator.decode(head, self.places[chosen][None])[1][0] - self.color[chosen]).abs().mean()


def refine_detail(
    generator: StarterGenerator,
    head: HeadPlanes,
    views: Sequence[PhotoRays],
    *,
    steps: int,
    random: torch.Generator,
    step: Step,
) -> Float[Tensor, "1 3 c r r"]:
    """A colour offset with which the head shows the photos' detail; its surface stays.

    Args:
        generator: Its weights stay.
        head: As refined so far.
        views: The photos, the main one first; samples crowd around the head's surface.
        steps: How long.
        random: Draws the points of the priors.
        step: Called with the done share at every step.
    """
    evidence = _gather(generator, head, views)
    twin, kept = _expectations(generator, head, evidence, views[0].guide)
    points, counts = torch.cat([one.points for one in evidence]), [len(one.points) for one in evidence]
    side = head.planes.shape[-1]
    coarse = head.planes.new_zeros((*head.planes.shape[:3], side // DETAIL_SCALE, side // DETAIL_SCALE))
    coarse.requires_grad_(True)

    def objective(_: int) -> dict[str, Tensor]:
        detailed = head.recolored(upsample_offset(coarse, side))
        colors = generator.decode(detailed, points[None])[1][0].split(counts)
        return {
            "detail": torch.stack([one.loss(color) for one, color in zip(evidence, colors, strict=True)]).sum(),
            "symmetry": SYMMETRY_WEIGHT * twin.loss(generator, detailed, random),
            "keep": KEEP_WEIGHT * kept.loss(generator, detailed, random),
            "smooth": SMOOTH_WEIGHT * total_variation(coarse),
            "size": SIZE_WEIGHT * coarse.square().mean(),
        }

    descend([coarse], objective, Descent(steps, _rate, second_moment=SECOND_MOMENT), step=step)
    return upsample_offset(coarse.detach(), side)


def _rate(done: float) -> float:
    """Rises in the first tenth, then falls to nothing."""
    return DETAIL_RATE * min(1.0, 10 * done + 0.1) * (1 - done) ** 0.5


@torch.no_grad()
def _gather(generator: StarterGenerator, head: HeadPlanes, views: Sequence[PhotoRays]) -> list[Evidence]:
    total = sum(view.weight for view in views)
    looks = show(generator, head, views)
    return [evidence_of(view, look, weight=view.weight / total) for view, look in zip(views, looks, strict=True)]


def evidence_of(view: PhotoRays, look: Look, *, weight: float) -> Evidence:
    """What a photo tells of a surface: nothing at its edges and where it is seen from the side.

    Where it is seen obliquely, a small error of the outline swaps the colours of two parts: there, the photo is
    believed as far as the head shows something like it.

    Args:
        view: The photo.
        look: Of the head from its place.
        weight: The photo's share among all.
    """
    distance = ray_distance(view, look.outer)
    shares = ray_weights(distance, view.spacing)
    opaque = shares.sum(1)
    surface = view.points[torch.arange(len(shares), device=shares.device), shares.argmax(1)]
    facing = _facing(distance, shares, view.spacing)
    trust = view.target.mask * view.target.weight
    is_hit = (trust > SOLID) & (opaque > SOLID)
    strange = (look.light.put_on(look.color) - view.target.color).abs().mean(-1)
    square = ((facing - LEAST_FACING) / (SQUARE_FACING - LEAST_FACING)).clamp(0, 1)
    belief = torch.lerp(robust_weight(strange, STRANGE), torch.ones_like(strange), square)
    rays = is_hit & (facing > LEAST_FACING) & (belief > LEAST_BELIEF) & ~_at_edge(surface, is_hit, view)
    shares = shares[rays] * (shares[rays] > FAINT)
    shares = shares / shares.sum(1, keepdim=True).clamp(min=FAINT)
    ray, sample = shares.nonzero(as_tuple=True)
    trust = (trust * belief * facing.clamp(0, 1) ** 2)[rays]
    return Evidence(
        view.points[rays][ray, sample],
        shares[ray, sample],
        ray,
        look.light.taken_off(view.target.color[rays]),
        trust / trust.sum().clamp(min=FAINT) * weight,
        surface[rays],
    )


def _facing(
    distance: Float[Tensor, "n s"], shares: Float[Tensor, "n s"], spacing: Float[Tensor, "n s"]
) -> Float[Tensor, "n"]:
    """Cosine between each ray and the surface that it meets: as fast as the signed distance falls along it."""
    slope = (distance[:, :-1] - distance[:, 1:]) / spacing[:, :-1]
    return (slope * shares[:, 1:]).sum(1) / shares[:, 1:].sum(1).clamp(min=FAINT)


def _at_edge(surface: Float[Tensor, "n 3"], is_hit: Bool[Tensor, "n"], view: PhotoRays) -> Bool[Tensor, "n"]:
    """Rays beside one that meets the head at a place far away: there, a small error swaps the colours of two parts."""
    index = torch.from_numpy(view.index).to(surface.device)[is_hit]
    extremes = surface.new_full((6, view.size_px**2), -torch.inf)
    extremes[:, index] = torch.cat([surface, -surface], dim=1)[is_hit].T
    grid = extremes.reshape(1, 6, view.size_px, view.size_px)
    most = functional.max_pool2d(grid, 2 * EDGE_PX + 1, 1, EDGE_PX).reshape(2, 3, -1)
    at_edge = torch.zeros_like(is_hit)
    at_edge[is_hit] = most.sum(0)[:, index].amax(0) > EDGE_M
    return at_edge


@torch.no_grad()
def _expectations(
    generator: StarterGenerator, head: HeadPlanes, evidence: Sequence[Evidence], guide: Float[Tensor, "g 3"]
) -> tuple[Expected, Expected]:
    """What mirror images of seen places should show where they are hidden, and what stays as the generator has it."""
    surface = torch.cat([one.surface for one in evidence])
    color = torch.cat([one.color for one in evidence])
    mirrored = mirror_image(surface)
    hidden = _is_unseen(mirrored, surface)
    kept = guide[_is_unseen(guide, surface) & _is_unseen(mirror_image(guide), surface)]
    return Expected(mirrored[hidden], color[hidden]), Expected(kept, generator.decode(head, kept[None])[1][0])


def _is_unseen(places: Float[Tensor, "n 3"], surface: Float[Tensor, "m 3"]) -> Bool[Tensor, "n"]:
    """Whether no photo shows anything near."""
    thinned = surface[:: max(1, len(surface) // NEIGHBOURS)]
    if not len(thinned):
        return torch.ones(len(places), dtype=torch.bool, device=places.device)
    return torch.cat([torch.cdist(block, thinned).amin(1) > UNSEEN_M for block in places.split(1000)])
