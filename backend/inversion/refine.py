# SPDX-License-Identifier: Apache-2.0
"""From a fitted head to codes that show the photos: choose a start, then refine ``ws``, then a plane offset.

The generator's weights never change, so that sliders keep their meaning. The symmetry prior acts in canonical space,
where a tilted or smiling head mirrors onto itself; the parametric head is the depth guide.

Source:
    SPI (Yin et al., CVPR 2023) for the symmetry prior and the empty space outside the matte; METHODS section 1.1 (c)
    for the plane offset in place of tuned weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.inversion.descent import Descent, Objective, Rate, descend
from backend.inversion.looks import Look, average, photo_terms, show
from backend.inversion.losses import (
    bare_face_loss,
    geometry_loss,
    mirror_image,
    pattern_loss,
    total_variation,
)
from backend.inversion.method import Inversion, Step
from backend.inversion.trust import trusted
from backend.inversion.view import PhotoRays
from backend.plane_lift import OFFSET_SCALE

SILHOUETTE_WEIGHT = 0.25
START_SILHOUETTE_WEIGHT = 1.0
START_PATTERN_WEIGHT = 0.5
# Hair that no photo asks for is not there: less, and short-haired people get ponytails behind.
HAIR_WEIGHT = 0.02  # Per litre.
HAIR_BOX_M, HAIR_NODES = ((-0.16, -0.1, -0.2), (0.16, 0.2, 0.16)), 24
BARE_FACE_WEIGHT = 0.5
CLEARANCE_M = 0.004
LIKELY_WEIGHT = 0.03  # With less, lips and clothes took colours that nobody has.
OFFSET_TV_WEIGHT = 4.0
OFFSET_SIZE_WEIGHT = 0.3
SYMMETRY_WEIGHT = 0.3
KEEP_WEIGHT = 1.0
KEEP_POINTS = 3000
UNSEEN_M = 0.02
SYMMETRY_POINTS = 6000
TWIN_POINTS = 4000
PATIENCE = 40  # Steps without gain that end a descent.
SECOND_MOMENT = 0.99
# Losses of the report, by the weights that they have in the sum.
REPORTED = {
    "color": 1.0, "silhouette": SILHOUETTE_WEIGHT, "bare_face": BARE_FACE_WEIGHT, "symmetry": SYMMETRY_WEIGHT,
}  # fmt: skip
# Less than this and a lock grew down beside the sample's brow.
GEOMETRY_WEIGHT = 0.5
GEOMETRY_TOLERANCE_M = 0.005


@dataclass(frozen=True)
class RefineConfig:
    """How long to refine.

    Args:
        code_steps: On the description ``z`` behind ``ws``.
        offset_steps: On the plane offset.
        detail_steps: On the colour offset, see ``detail``.
        code_rate: Of Adam on ``z``.
        offset_rate: Of Adam on the plane offset.
    """

    code_steps: int
    offset_steps: int
    detail_steps: int
    code_rate: float = 0.12
    offset_rate: float = 0.02


@dataclass(frozen=True)
class Likely:
    """What is believed of a description before the photos are looked at closely.

    Args:
        mean: The most likely one.
        spread: Standard deviation of each number.
    """

    mean: Float[Tensor, "z_dim"]
    spread: Float[Tensor, "z_dim"]


@torch.no_grad()
def choose_start(
    generator: StarterGenerator,
    heads: Float[Tensor, "k z_dim"],
    views: Sequence[PhotoRays],
    step: Step,
    *,
    chosen: float,
) -> Float[Tensor, "1 z_dim"]:
    """The described head that looks most like the photos, with the hair style and the top that suit it best.

    Args:
        generator: Renders.
        heads: Descriptions to choose from.
        views: The photos, coarsely sampled.
        step: Called with the done share.
        chosen: Number in a description that stands for a choice.
    """
    tries = len(heads) + sum(count for _, count in generator.config.choices)
    done = 0

    def best_of(heads: Float[Tensor, "n z_dim"]) -> Float[Tensor, "1 z_dim"]:
        nonlocal done
        losses = []
        for head in heads:
            losses.append(_start_loss(generator, head[None], views))
            done += 1
            step(done / tries)
        return heads[losses.index(min(losses)), None]

    best = best_of(heads)
    for first, count in generator.config.choices:
        best = best_of(with_each_choice(best, first, count, chosen))
    return best


def choice_number(generator: StarterGenerator, candidates: Float[Tensor, "k z_dim"]) -> float:
    """What stands for a choice in the candidates' descriptions; 0 where there is nothing to choose."""
    return max(
        (float(candidates[:, first : first + count].max()) for first, count in generator.config.choices), default=0.0
    )


def _start_loss(generator: StarterGenerator, z: Float[Tensor, "1 z_dim"], views: Sequence[PhotoRays]) -> float:
    head = generator.planes(generator.map(z))
    looks = show(generator, head, views)
    pattern = average([pattern_loss(look.color, view.target) for look, view in zip(looks, views, strict=True)], views)
    color_part, silhouette = photo_terms(looks, views)
    seen = color_part + START_SILHOUETTE_WEIGHT * silhouette + START_PATTERN_WEIGHT * pattern
    return float(seen) + HAIR_WEIGHT * hair_litres(generator, head)


def hair_litres(generator: StarterGenerator, head: HeadPlanes) -> float:
    """Volume of the hair, and of what else stands off the bare head above the chin, canonical litres."""
    low, high = (torch.tensor(corner, device=head.planes.device) for corner in HAIR_BOX_M)
    steps = (torch.arange(HAIR_NODES, device=low.device) + 0.5) / HAIR_NODES
    points = torch.cartesian_prod(*(low[:, None] + (high - low)[:, None] * steps))
    is_hair = (generator.decode(head, points[None])[0][0] < 0) & (generator.body_distance(points) > 0)
    return 1000 * float((high - low).prod()) * float(is_hair.float().mean())


def with_each_choice(
    z: Float[Tensor, "1 z_dim"], first: int, count: int, chosen: float
) -> Float[Tensor, "count z_dim"]:
    """The same head with every hair style, or with every top."""
    heads = z.repeat(count, 1)
    heads[:, first : first + count] = chosen * torch.eye(count, device=z.device)
    return heads


def refine(
    generator: StarterGenerator,
    start: Float[Tensor, "1 z_dim"],
    candidates: Float[Tensor, "k z_dim"],
    likely: Likely,
    views: Sequence[PhotoRays],
    *,
    config: RefineConfig,
    random: torch.Generator,
    step: Step,
) -> Inversion:
    """Optimise the description behind ``ws``, then the plane offset, on photos of one person.

    Args:
        generator: Its weights stay.
        start: Of the candidates.
        candidates: The description stays within their range.
        likely: Which description is.
        views: The photos, the main one first.
        config: How long.
        random: Draws the points of the symmetry prior.
        step: Called with the done share at every step.
    """
    share = config.code_steps / max(1, config.code_steps + config.offset_steps)
    ws, code_losses = _refine_codes(
        generator, start, candidates, likely, views, config, lambda done: step(share * done)
    )
    offset, losses = _refine_offset(generator, ws, views, config, random, lambda done: step(share + (1 - share) * done))
    return Inversion(ws, offset, losses=losses or code_losses)


def _refine_codes(
    generator: StarterGenerator,
    start: Tensor,
    candidates: Tensor,
    likely: Likely,
    views: Sequence[PhotoRays],
    config: RefineConfig,
    step: Step,
) -> tuple[Tensor, dict[str, float]]:
    """The description is refined rather than ``ws``: every step stays a head that the generator has learnt.

    It moves within the candidates' range; half of one hair style and half of another is none, so choices stay.
    """
    low, high = candidates.amin(0), candidates.amax(0)
    for first, count in generator.config.choices:
        low[first : first + count] = high[first : first + count] = start[0, first : first + count]
    z = start.clone().requires_grad_(True)

    def objective(_: int) -> dict[str, Tensor]:
        looks = show(generator, generator.planes(generator.map(z)), views)
        unlikely = ((z - likely.mean) / likely.spread).square().mean()
        return _photo_cost(looks, views) | {"likely": LIKELY_WEIGHT * unlikely}

    def stay_likely() -> None:
        with torch.no_grad():
            z.clamp_(low, high)

    losses = _descend(z, objective, config.code_steps, config.code_rate, step=step, after=stay_likely)
    with torch.no_grad():
        return generator.map(z).contiguous(), losses


def _refine_offset(
    generator: StarterGenerator,
    ws: Tensor,
    views: Sequence[PhotoRays],
    config: RefineConfig,
    random: torch.Generator,
    step: Step,
) -> tuple[Tensor, dict[str, float]]:
    with torch.no_grad():
        head = generator.planes(ws)
    views = trusted(generator, head, views)
    coarse = head.planes.new_zeros((1, *_coarse_shape(head.planes))).requires_grad_(True)
    seen = [_surface_points(generator, head, view) for view in views]
    surface = torch.cat(seen)
    one_sided = surface if len(views) == 1 else _without_seen_twin(surface)
    with torch.no_grad():
        priors = [_outer(generator, head, view) for view in views]
        guide = _Guide.of(generator, head, views[0].guide, surface)

    def objective(_: int) -> dict[str, Tensor]:
        moved = head.moved(_upsample(coarse, head.planes))
        looks = show(generator, moved, views)
        departures = [
            geometry_loss(look.outer, prior, tolerance=GEOMETRY_TOLERANCE_M)
            for look, prior in zip(looks, priors, strict=True)
        ]
        return _photo_cost(looks, views) | {
            "symmetry": SYMMETRY_WEIGHT * _symmetry_loss(generator, moved, one_sided, random),
            "keep": KEEP_WEIGHT * _keep_loss(generator, moved, guide, random),
            "geometry": GEOMETRY_WEIGHT * average(departures, views),
            "smooth": OFFSET_TV_WEIGHT * total_variation(coarse),
            "size": OFFSET_SIZE_WEIGHT * coarse.square().mean(),
        }

    losses = _descend(coarse, objective, config.offset_steps, config.offset_rate, step=step)
    return _upsample(coarse, head.planes).detach(), losses


def _photo_cost(looks: Sequence[Look], views: Sequence[PhotoRays]) -> dict[str, Tensor]:
    """What both stages pay for at the photos, weighted."""
    color, silhouette = photo_terms(looks, views)
    return {
        "color": color,
        "silhouette": SILHOUETTE_WEIGHT * silhouette,
        "bare_face": BARE_FACE_WEIGHT * _bare_face(looks, views),
    }


def _descend(
    values: Tensor,
    objective: Objective,
    steps: int,
    rate: float,
    *,
    step: Step,
    after: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Bring the values to the best iterate met; returns what is reported of the losses there, without weights."""
    if not steps:
        return {}
    descent = Descent(steps, _rate(rate), patience=PATIENCE, second_moment=SECOND_MOMENT)
    terms = descend([values], objective, descent, step=step, after=after)
    return {name: terms[name] / weight for name, weight in REPORTED.items() if name in terms}


def _coarse_shape(planes: Float[Tensor, "1 3 c r r"]) -> tuple[int, int, int, int]:
    _, count, channels, side, _ = planes.shape
    return count, channels, side // OFFSET_SCALE, side // OFFSET_SCALE


def _upsample(coarse: Float[Tensor, "1 3 c k k"], planes: Float[Tensor, "1 3 c r r"]) -> Float[Tensor, "1 3 c r r"]:
    flat = functional.interpolate(coarse.flatten(0, 1), size=planes.shape[-2:], mode="bicubic", align_corners=False)
    return flat.unflatten(0, coarse.shape[:2])


def _bare_face(looks: Sequence[Look], views: Sequence[PhotoRays]) -> Float[Tensor, ""]:
    pairs = zip(looks, views, strict=True)
    return average([bare_face_loss(look.outer, view.points, clearance=CLEARANCE_M) for look, view in pairs], views)


def _outer(generator: StarterGenerator, head: HeadPlanes, view: PhotoRays) -> Float[Tensor, "n s"]:
    return generator.decode(head, view.points.reshape(1, -1, 3))[0].reshape(view.body.shape)


def _without_seen_twin(surface: Float[Tensor, "n 3"]) -> Float[Tensor, "m 3"]:
    """Points whose mirror image no photo shows; where both are shown, each photo tells of its own."""
    thinned = surface[:: max(1, len(surface) // TWIN_POINTS)]
    twin = mirror_image(surface)
    is_alone = [torch.cdist(block, thinned).amin(1) > UNSEEN_M / 2 for block in twin.split(1000)]
    return surface[torch.cat(is_alone)] if is_alone and len(thinned) else surface


@torch.no_grad()
def _surface_points(generator: StarterGenerator, head: HeadPlanes, view: PhotoRays) -> Float[Tensor, "n 3"]:
    """Canonical points that the photo sees."""
    outer, _ = generator.decode(head, view.points.reshape(1, -1, 3))
    distance = torch.minimum(view.body, outer.reshape(view.body.shape))
    inside = (distance < 0) & (view.target.mask[:, None] > 0.5)
    first = inside.int().argmax(1)
    hit = inside.any(1)
    return view.points[torch.arange(len(first), device=first.device), first][hit]


def _symmetry_loss(
    generator: StarterGenerator, head: HeadPlanes, surface: Tensor, random: torch.Generator
) -> Float[Tensor, ""]:
    """What is seen on one side should also stand on the other; the seen side is not pulled."""
    if not len(surface):
        return surface.new_zeros(())
    chosen = torch.randint(len(surface), (min(SYMMETRY_POINTS, len(surface)),), generator=random)
    points = surface[chosen.to(surface.device)]
    with torch.no_grad():
        seen_outer, seen_color = generator.decode(head, points[None])
    outer, color = generator.decode(head, mirror_image(points)[None])
    return (color - seen_color).abs().mean() + (outer - seen_outer).abs().mean() / 0.02


@dataclass(frozen=True)
class _Guide:
    """The head before the offset, at points all over it.

    Args:
        points: Canonical.
        outer: Signed distance of hair and clothes there, metres.
        color: sRGB there.
        unseen: Whether the photo shows nothing near.
    """

    points: Float[Tensor, "g 3"]
    outer: Float[Tensor, "g"]
    color: Float[Tensor, "g 3"]
    unseen: Bool[Tensor, "g"]

    @classmethod
    @torch.no_grad()
    def of(cls, generator: StarterGenerator, head: HeadPlanes, points: Tensor, seen: Float[Tensor, "n 3"]) -> "_Guide":
        """Asks the generator once."""
        outer, color = generator.decode(head, points[None])
        distance = torch.full_like(outer[0], torch.inf)
        for block in seen.split(1000) if len(seen) else ():
            distance = torch.minimum(distance, torch.cdist(points, block).amin(1))
        return cls(points, outer[0], color[0], distance > UNSEEN_M)


def _keep_loss(
    generator: StarterGenerator, head: HeadPlanes, guide: _Guide, random: torch.Generator
) -> Float[Tensor, ""]:
    """What the photo does not show keeps the generator's colours and surface.

    Where it shows something, the photo term outweighs the colours.
    """
    chosen = torch.randint(len(guide.points), (KEEP_POINTS,), generator=random).to(guide.points.device)
    outer, color = generator.decode(head, guide.points[chosen][None])
    moved = ((outer[0] - guide.outer[chosen]).abs() * guide.unseen[chosen]).mean()
    return (color[0] - guide.color[chosen]).abs().mean() + moved / GEOMETRY_TOLERANCE_M


def _rate(rate: float) -> Rate:
    """Rises in the first tenth, then falls to nothing."""
    return lambda done: rate * min(1.0, 10 * done + 0.1) * (1 - done) ** 0.5
