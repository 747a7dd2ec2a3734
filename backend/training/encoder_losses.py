# SPDX-License-Identifier: Apache-2.0
"""What the starter's encoder pays for: millimetres, image widths and visible colours instead of raw code numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.crop_camera import project_points
from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.plane_lift import PlaneLift, upsample_offset
from backend.starter import Starter
from backend.starter_encoder import Encoding

LANDMARK_SHARE = 0.6  # Of a head's error that its landmarks make up; the rest are all vertices alike.
STEP = 0.3  # Of finite differences, standard deviations of a description.
WEIGHTS = {
    "shape_mm": 0.5, "expression_mm": 0.5, "pose": 1.0, "camera": 0.3, "landmarks": 40.0, "z": 10.0, "palette": 5.0,
    "light": 0.1, "doubt": 0.1, "field": 5.0, "lift": 5.0,
}  # fmt: skip
OFFSET_SIZE_WEIGHT, OFFSET_VARIATION_WEIGHT, OTHER_VIEW_WEIGHT = 0.02, 0.05, 0.7
OUTER_RANGE_M = 0.02
KEPT_BAND_M = 0.005  # Around seen points, where the plane offset leaves hair and clothes in their places.


@dataclass(frozen=True)
class Measures:
    """Factors ``F`` for which the length of ``F^T d`` is what a difference ``d`` of codes does to a head.

    Args:
        shape: Millimetres, root mean square over the surface, landmarks first.
        expression: The same.
        z: sRGB colour in [0, 1], root mean square over points of varied heads.
        rest: Landmarks of the mean head, metres.
        shape_moves: Of them, per standard deviation.
        expression_moves: Of them, per value.
    """

    shape: Float[Tensor, "k k"]
    expression: Float[Tensor, "e e"]
    z: Float[Tensor, "d d"]
    rest: Float[Tensor, "n 3"]
    shape_moves: Float[Tensor, "k n 3"]
    expression_moves: Float[Tensor, "e n 3"]

    def landmarks(self, shape: Float[Tensor, "b k"], expression: Float[Tensor, "b e"]) -> Float[Tensor, "b n 3"]:
        """Landmarks of heads at rest, metres."""
        moved = torch.einsum("bk,knc->bnc", shape, self.shape_moves)
        return self.rest + moved + torch.einsum("be,enc->bnc", expression, self.expression_moves)


def measures(starter: Starter, points: Float[Tensor, "n 3"], *, heads: int) -> Measures:
    """How much each code matters.

    Args:
        starter: The model.
        points: Canonical, where colours are compared, metres; on the device where the measures are needed.
        heads: On so many of the starter's candidates, evenly chosen, every number is changed.
    """
    template, z = starter.template, starter.candidates.cpu()

    def at_landmarks(vertices: Float[np.ndarray, "*k n 3"]) -> Float[Tensor, "*k m 3"]:
        return torch.from_numpy(template.landmarks(vertices).astype(np.float32))

    known = Measures(
        shape=_surface_factor(template.shape, at_landmarks(template.shape)),
        expression=_surface_factor(template.expression, at_landmarks(template.expression)),
        z=color_factor(starter.generator, z[:: max(1, len(z) // heads)][:heads], z.std(0), points),
        rest=at_landmarks(template.vertices + template.neutral),
        shape_moves=at_landmarks(template.shape),
        expression_moves=at_landmarks(template.expression),
    )
    return Measures(**{name: value.to(points.device) for name, value in vars(known).items()})


def _surface_factor(basis: Float[np.ndarray, "k n 3"], at_landmarks: Float[Tensor, "k m 3"]) -> Float[Tensor, "k k"]:
    """Root of the mean squared move over surface and landmarks, millimetres."""
    flat, landmarks = (1000 * basis).reshape(len(basis), -1), 1000 * at_landmarks.double().flatten(1)
    everywhere = torch.from_numpy(flat @ flat.T) / basis.shape[1]
    there = landmarks @ landmarks.T / max(at_landmarks.shape[1], 1)
    return _root((1 - LANDMARK_SHARE) * everywhere + LANDMARK_SHARE * there)


@torch.no_grad()
def color_factor(
    generator: StarterGenerator, z: Float[Tensor, "h d"], spread: Float[Tensor, "d"], points: Float[Tensor, "n 3"]
) -> Float[Tensor, "d d"]:
    """Mean over heads of what a small step of each number of ``z`` does to the colours of points."""
    spread = spread.clamp(min=0.05)
    gram = torch.zeros(z.shape[1], z.shape[1], dtype=torch.float64)
    for head in z:
        steps = head + torch.cat([torch.zeros(1, len(head)), torch.diag(STEP * spread)])
        colors = torch.cat([_colors(generator, row[None].to(points.device), points) for row in steps])
        slope = ((colors[1:] - colors[:1]).flatten(1) / (STEP * spread).to(points.device)[:, None]).double().cpu()
        gram += slope @ slope.T / slope.shape[1]
    return _root(gram / len(z))


def _colors(generator: StarterGenerator, z: Tensor, points: Tensor) -> Tensor:
    return generator.decode(generator.planes(generator.map(z)), points[None])[1]


def _root(gram: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """``F`` with ``F F^T`` the positive part of ``gram``."""
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).sqrt()).float()


def length(difference: Float[Tensor, "b k"], factor: Float[Tensor, "k k"]) -> Float[Tensor, "b"]:
    """What a difference does, in the factor's unit; smooth at zero."""
    return ((difference @ factor).square().sum(1) + 1e-8).sqrt()


def code_losses(
    encoding: Encoding,
    truth: dict[str, Tensor],
    *,
    known: Measures,
    generator: StarterGenerator,
    spread: dict[str, Tensor],
) -> dict[str, Tensor]:
    """All that needs no planes.

    Args:
        encoding: What was said.
        truth: A batch of examples.
        known: What codes do.
        generator: For palettes.
        spread: Of every number, by answer.
    """
    means = encoding.means
    gap = {name: means[name] - truth[name] for name in means}
    placed = project_points(means["camera"], known.landmarks(means["shape"], means["expression"]))
    # Landmarks out of sight count less: no detector knows them well.
    trust = 0.25 + 0.75 * truth["seen"]
    off = ((placed - truth["exact_landmarks"]).norm(dim=-1) * trust).sum(1) / trust.sum(1)
    palettes = [generator.palette(generator.mapping(z)) for z in (means["z"], truth["z"])]
    return {
        "shape_mm": length(gap["shape"], known.shape).mean(),
        "expression_mm": length(gap["expression"], known.expression).mean(),
        "pose": (gap["pose"] / spread["pose"]).abs().mean(),
        "camera": (gap["camera"] / spread["camera"]).abs().mean(),
        "landmarks": off.clamp(max=1.0).mean(),
        "z": length(gap["z"], known.z).mean(),
        "palette": (palettes[0] - palettes[1]).abs().mean(),
        "light": (gap["light"] / spread["light"]).abs().mean(),
        "doubt": torch.cat([doubt_loss(gap[n], encoding.deviations[n], spread[n]) for n in means], dim=1).mean(),
    }


def doubt_loss(
    gap: Float[Tensor, "b k"], deviation: Float[Tensor, "b k"], spread: Float[Tensor, "k"]
) -> Float[Tensor, "b k"]:
    """Negative log likelihood of errors under predicted deviations; the answers themselves are not moved by it.

    Source:
        Kendall and Gal 2017, arXiv:1703.04977, equation 5.
    """
    relative = deviation / spread
    return 0.5 * (gap.detach() / deviation).square().clamp(max=50) + relative.log()


def field_losses(
    generator: StarterGenerator, lift: PlaneLift, z: Float[Tensor, "b d"], truth: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What is seen of the described head at canonical points, and of the head with its plane offset.

    Args:
        generator: Its weights stay.
        lift: The second stage.
        z: Encoded descriptions of the first heads of the batch.
        truth: The batch.
    """
    count = len(z)
    points, other = truth["points"][:count], truth["other_points"][:count]
    photo, clean, other_clean = (truth[name][:count] for name in ("photo", "clean", "other_clean"))
    head = generator.planes(generator.map(z))
    with torch.no_grad():
        goal = generator.decode(generator.planes(generator.map(truth["z"][:count])), points)
    outer, color = generator.decode(head, points)
    field = (color - goal[1]).abs().mean() + 0.5 * _outer_gap(outer, goal[0])
    still = HeadPlanes(head.planes.detach(), head.palette.detach())
    first = color.detach()
    weight = torch.ones_like(points[..., 0])
    coarse = lift(still, points, photo, weight, first=first, side=generator.config.side)
    moved = still.moved(upsample_offset(coarse, still.planes.shape[-1]))
    seen, unseen = generator.decode(moved, points)[1], generator.decode(moved, other)[1]
    near = _scattered(torch.cat([points, other], dim=1), KEPT_BAND_M)
    with torch.no_grad():
        other_first = generator.decode(still, other)[1]
        outer_still = generator.decode(still, near)[0]
    kept = _outer_gap(generator.decode(moved, near)[0], outer_still)
    before, after = (unlit_gap(shown, other_clean) for shown in (other_first, unseen))
    size, variation = coarse.square().mean(), coarse.diff(dim=-1).square().mean() + coarse.diff(dim=-2).square().mean()
    seen_gap = (seen - clean).abs().mean()
    pulled = OFFSET_SIZE_WEIGHT * size + OFFSET_VARIATION_WEIGHT * variation
    return {
        "field": field,
        "lift": seen_gap + OTHER_VIEW_WEIGHT * after + kept + pulled,
        "lift_kept": kept.detach(),
        "seen_before": (first - clean).abs().mean(),
        "seen_after": seen_gap.detach(),
        "other_before": before,
        "other_after": after.detach(),
    }


def unlit_gap(shown: Float[Tensor, "b n 3"], photo: Float[Tensor, "b n 3"]) -> Float[Tensor, ""]:
    """Difference in colour after the photo's light is taken out: one gain for each channel, by least squares."""
    fixed = shown.detach()
    gain = (fixed * photo).sum(1, keepdim=True) / photo.square().sum(1, keepdim=True).clamp(min=1e-4)
    return (shown - gain.clamp(0.4, 2.5) * photo).abs().mean()


def _scattered(points: Float[Tensor, "b n 3"], deviation: float) -> Float[Tensor, "b n 3"]:
    """Points moved a little, each call by the same numbers, so that a run taken up again ends the same."""
    steps = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    return points + deviation * steps.to(points.device)


def _outer_gap(outer: Tensor, goal: Tensor) -> Tensor:
    near, wanted = (distance.clamp(-OUTER_RANGE_M, OUTER_RANGE_M) / OUTER_RANGE_M for distance in (outer, goal))
    return (near - wanted).abs().mean()


def total(losses: dict[str, Tensor]) -> Float[Tensor, ""]:
    """The weighted sum of all that has a weight."""
    return torch.stack([WEIGHTS[name] * value for name, value in losses.items() if name in WEIGHTS]).sum()
