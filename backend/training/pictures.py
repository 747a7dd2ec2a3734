# SPDX-License-Identifier: Apache-2.0
"""Flat-lit pictures of described heads, of the truth and of what the generator makes of it, and their difference.

Both are traced through signed distances of canonical space with the mean body, so that what is compared is what the
networks learn: hair and clothes as a shape, and all colours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from backend.camera import Camera, look_at_camera, rays
from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet
from backend.training.dataset import TrainingHead, body_colors
from backend.training.dressing import DressingShapes
from backend.training.hair import hair_color
from backend.training.tops import top_color

DISTANCE_M, FRAME_M = 1.2, 0.40
SIZE_PX, SUPERSAMPLE = 128, 2
TOUCH_M, SMALLEST_STEP_M, CAREFUL = 0.0003, 0.0004, 0.8
COARSE_NODES, COARSE_MARGIN_M = 64, 0.003
NEIGHBOURS = 4
GREY = 0.5
YAWS = (0, 40, 90, 180)
PARTS = ("skin", "eyes", "hair", "top")
Distance = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]


@dataclass(frozen=True)
class FlatPicture:
    """One view of a head.

    Args:
        color: sRGB in [0, 1] on grey.
        inside: Share of each pixel that the head covers.
        part: Index into ``PARTS`` at the pixel's centre ray, -1 for none.
    """

    color: Float[np.ndarray, "s s 3"]
    inside: Float[np.ndarray, "s s"]
    part: np.ndarray


@dataclass(frozen=True)
class Sight:
    """What single rays meet.

    Args:
        points: Canonical; where the ray leaves the cube if it meets nothing.
        hit: Whether it meets the head.
        colors: sRGB in [0, 1], 0 where nothing is.
        part: Index into ``PARTS``, -1 for none.
    """

    points: Float[np.ndarray, "r 3"]
    hit: Bool[np.ndarray, "r"]
    colors: Float[np.ndarray, "r 3"]
    part: Int[np.ndarray, "r"]


def flat_camera(yaw_deg: float) -> Camera:
    """The portrait camera in front of the mean head."""
    return look_at_camera(yaw_deg=yaw_deg, pitch_deg=0.0, distance=DISTANCE_M, focal=DISTANCE_M / FRAME_M)


class Tracer:
    """Follows rays to the zero level of a signed distance, coarsely on a lattice first.

    Args:
        distance: At canonical points, metres; asked inside the cube only.
        side: Edge of the cube.

    Source:
        Hart 1996, Sphere tracing.
    """

    def __init__(self, distance: Distance, side: float) -> None:
        self.distance, self.side = distance, side
        ticks = torch.linspace(-side / 2, side / 2, COARSE_NODES)
        nodes = torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), dim=-1)
        self._coarse = distance(nodes.reshape(-1, 3)).reshape(1, 1, *nodes.shape[:3]).permute(0, 1, 4, 3, 2)

    @torch.no_grad()
    def trace(self, camera: Camera, size_px: int) -> tuple[Float[np.ndarray, "r 3"], Bool[np.ndarray, "r"]]:
        """Where the rays of a picture meet the surface: points, and whether they do."""
        origin, directions = rays(camera, size_px)
        towards = torch.from_numpy(directions.reshape(-1, 3)).float()
        start = torch.from_numpy(origin).float()
        # Where each ray enters and leaves the cube.
        low, high = (-self.side / 2 - start) / towards, (self.side / 2 - start) / towards
        along, end = torch.minimum(low, high).amax(1), torch.maximum(low, high).amin(1) - TOUCH_M
        hit = torch.zeros(len(along), dtype=torch.bool)
        moving = torch.nonzero(along < end).squeeze(1)
        while len(moving):
            gap = self._gap(start + along[moving, None] * towards[moving])
            touched = gap < TOUCH_M
            hit[moving[touched]] = True
            moving, gap = moving[~touched], gap[~touched]
            along[moving] += (CAREFUL * gap).clamp(min=SMALLEST_STEP_M)
            moving = moving[along[moving] < end[moving]]
        return (start + along[:, None] * towards).numpy().astype(np.float64), hit.numpy()

    def _gap(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        place = (points * (2 / self.side))[None, None, None]
        gap = functional.grid_sample(self._coarse, place, align_corners=True, padding_mode="border").reshape(-1)
        gap -= COARSE_MARGIN_M
        near = torch.nonzero(gap < COARSE_MARGIN_M).squeeze(1)
        if len(near):
            gap[near] = self.distance(points[near])
        return gap


class TruePainter:
    """Paints heads as they were described.

    Args:
        generator: For the body's distance, which truth and prediction share.
        canonical: Points, hair and tops.
    """

    def __init__(self, generator: StarterGenerator, canonical: CanonicalSet) -> None:
        self.generator, self.canonical = generator, canonical
        self._shapes = DressingShapes(canonical)
        self._tree = cKDTree(canonical.body_points)

    def tracer(self, head: TrainingHead) -> Tracer:
        """For the head as described."""
        return Tracer(lambda points: self._distances(head, points).amin(0), self.generator.config.side)

    def picture(self, head: TrainingHead, tracer: Tracer, camera: Camera, size_px: int = SIZE_PX) -> FlatPicture:
        """The head as described."""
        sight = self.look(head, tracer, camera, size_px * SUPERSAMPLE)
        return _pixels(np.where(sight.hit[:, None], sight.colors, GREY), sight.hit, sight.part, size_px)

    def look(self, head: TrainingHead, tracer: Tracer, camera: Camera, size_px: int) -> Sight:
        """What the rays through the pixels' centres meet."""
        points, hit = tracer.trace(camera, size_px)
        nearest = self._distances(head, torch.from_numpy(points[hit]).float()).argmin(0).numpy()
        colors, part = np.zeros((len(points), 3)), np.full(len(points), -1)
        colors[hit], part[hit] = self._colors(head, points[hit], nearest)
        return Sight(points, hit, colors, part)

    def _distances(self, head: TrainingHead, points: Float[Tensor, "n 3"]) -> Float[Tensor, "3 n"]:
        """To skin, hair and top."""
        hair = self._shapes.hair_of(head.dressing, points)
        return torch.stack([self.generator.body_distance(points), hair, self._shapes.top(head.dressing, points)])

    def _colors(self, head: TrainingHead, points: np.ndarray, nearest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        colors, part = np.zeros((len(points), 3)), np.zeros(len(points), np.int64)
        on_hair, on_top, on_body = nearest == 1, nearest == 2, nearest == 0
        if on_hair.any():
            colors[on_hair] = hair_color(head.appearance, points[on_hair], HAIR_STYLES[head.dressing.style])
        if on_top.any():
            colors[on_top] = top_color(head.appearance, points[on_top], TOPS[head.dressing.top])
        part[on_hair], part[on_top] = 2, 3
        gap, index = self._tree.query(points[on_body], k=NEIGHBOURS)
        near, back = np.unique(index, return_inverse=True)
        weight = 1 / (gap + 1e-5) ** 2
        weight /= weight.sum(1, keepdims=True)
        painted = body_colors(head.appearance, self.canonical, near)[back.reshape(index.shape)]
        colors[on_body] = (painted * weight[..., None]).sum(1)
        part[on_body] = self.canonical.body_is_eye[index[:, 0]].astype(np.int64)
        return colors, part


@torch.no_grad()
def generator_tracer(generator: StarterGenerator, head: HeadPlanes) -> Tracer:
    """For a head as the generator makes it."""

    def distance(points: Tensor) -> Tensor:
        return torch.minimum(generator.body_distance(points), generator.decode(head, points[None])[0][0])

    return Tracer(distance, generator.config.side)


@torch.no_grad()
def predicted_picture(
    generator: StarterGenerator, head: HeadPlanes, tracer: Tracer, camera: Camera, size_px: int = SIZE_PX
) -> FlatPicture:
    """What the generator shows from a camera."""
    points, hit = tracer.trace(camera, size_px * SUPERSAMPLE)
    colors = np.full((len(points), 3), GREY)
    _, found = generator.decode(head, torch.from_numpy(points[hit]).float()[None])
    colors[hit] = found[0].clamp(0, 1).numpy()
    return _pixels(colors, hit, np.full(len(points), -1), size_px)


def _pixels(colors: np.ndarray, hit: np.ndarray, part: np.ndarray, size_px: int) -> FlatPicture:
    blocks = (size_px, SUPERSAMPLE, size_px, SUPERSAMPLE)
    return FlatPicture(
        colors.reshape(*blocks, 3).mean(axis=(1, 3)),
        hit.reshape(blocks).mean(axis=(1, 3)),
        part.reshape(blocks)[:, 0, :, 0],
    )


def psnr(first: np.ndarray, second: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio of colours in [0, 1], dB."""
    squared = (first - second) ** 2
    return float(-10 * np.log10((squared if where is None else squared[where]).mean()))


@torch.no_grad()
def measure_pictures(
    generator: StarterGenerator,
    heads: Sequence[TrainingHead],
    canonical: CanonicalSet,
    *,
    yaws: Sequence[float] = YAWS,
    size_px: int = SIZE_PX,
) -> tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]]:
    """PSNR in dB by angle, over the whole picture on grey (``full``) and inside the true head, and a sheet of pairs."""
    painter = TruePainter(generator, canonical)
    scores: dict[str, list[float]] = {}
    rows = []
    for head in heads:
        planes = generator.planes(generator.map(torch.from_numpy(head.z)[None]))
        row = []
        tracers = painter.tracer(head), generator_tracer(generator, planes)
        for yaw in yaws:
            truth = painter.picture(head, tracers[0], flat_camera(yaw), size_px)
            made = predicted_picture(generator, planes, tracers[1], flat_camera(yaw), size_px)
            scores.setdefault(f"full_{yaw}", []).append(psnr(truth.color, made.color))
            scores.setdefault(f"inside_{yaw}", []).append(psnr(truth.color, made.color, truth.inside > 0.99))
            for number, name in enumerate(PARTS):
                where = (truth.part == number) & (truth.inside > 0.99)
                if where.sum() > 10:
                    scores.setdefault(f"{name}_{yaw}", []).append(psnr(truth.color, made.color, where))
            both = (truth.inside > 0.99) & (made.inside > 0.99)
            scores.setdefault(f"both_{yaw}", []).append(psnr(truth.color, made.color, both))
            row += [truth.color, made.color]
        rows.append(np.concatenate(row, axis=1))
    sheet = np.rint(np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8)
    return {name: round(float(np.mean(values)), 2) for name, values in scores.items()}, sheet
