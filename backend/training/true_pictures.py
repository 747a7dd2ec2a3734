# SPDX-License-Identifier: Apache-2.0
"""Flat-lit pictures of training heads as they were described, one ray a pixel, with the distance to what is seen.

They are the truth of phases B and C. Each head and view has its own seed, so that the pictures are the same whatever
the number of processes, and an interrupted run finds those that are done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, UInt8
from scipy.ndimage import distance_transform_edt

from backend.camera import Camera, look_at_camera
from backend.generator.starter import StarterGenerator
from backend.training.canonical import FACE_CENTRE_M, CanonicalSet
from backend.training.crowd import in_parallel
from backend.training.dataset import TrainingHead
from backend.training.kept import kept, kept_name
from backend.training.pictures import DISTANCE_M, TruePainter

SOURCES = ("true_pictures", "pictures", "dataset", "dressing", "eyes", "hair", "noise", "paint", "skin", "tops")
SHARD_HEADS = 25
SEED = 11
# Cameras: most see the face, at the whole head or close to it.
FRONT_SHARE, FRONT_DEG, PITCH_DEG = 0.6, 60.0, 12.0
FRAME_M = (0.22, 0.42)
# How much a pixel counts, and how often a patch lies around it.
FACE_WEIGHT, EYES_WEIGHT = 3, 6
FACE_RADIUS_M, EYE_RADIUS_M = 0.075, 0.020
MARGIN_PX = 4  # Around the head: there nothing should be seen.
CUT_M = 0.001  # What is seen so near the cube's side is the cut through the shoulders.


@dataclass(frozen=True)
class PicturePlan:
    """How many pictures.

    Args:
        heads: Training heads that have some, the first ones.
        views: Of each.
        size_px: Side.
    """

    heads: int
    views: int
    size_px: int


@dataclass(frozen=True)
class TruePicture:
    """One view.

    Args:
        color: sRGB; black where nothing is.
        depth: From the camera to what is seen, less the camera's distance from the origin, metres; where nothing is,
            that of the nearest pixel of the head.
        inside: 1 where the head is, 0 elsewhere.
        weight: How much the pixel counts.
        camera: In canonical space.
    """

    color: UInt8[np.ndarray, "s s 3"]
    depth: Float16[np.ndarray, "s s"]
    inside: UInt8[np.ndarray, "s s"]
    weight: UInt8[np.ndarray, "s s"]
    camera: Camera


class Photographer:
    """Makes true pictures.

    Args:
        generator: For the bare body; its networks have no part.
        canonical: Points, hair and tops.
    """

    def __init__(self, generator: StarterGenerator, canonical: CanonicalSet) -> None:
        self.painter = TruePainter(generator, canonical)
        self.side = generator.config.side
        eyes = canonical.body_points[canonical.body_is_eye]
        self.eyes = [eyes[eyes[:, 0] * sign > 0].mean(0) for sign in (-1, 1) if (eyes[:, 0] * sign > 0).any()]

    def pictures(self, head: TrainingHead, number: int, plan: PicturePlan) -> list[TruePicture]:
        """All views of a training head that has this number."""
        tracer = self.painter.tracer(head)
        pictures = []
        for view in range(plan.views):
            camera = random_camera(np.random.default_rng([SEED, number, view]))
            sight = self.painter.look(head, tracer, camera, plan.size_px)
            pictures.append(self._picture(sight.colors, sight.points, sight.hit, camera))
        return pictures

    def _picture(self, colors: np.ndarray, points: np.ndarray, hit: np.ndarray, camera: Camera) -> TruePicture:
        size = round(len(hit) ** 0.5)
        inside = hit.reshape(size, size)
        depth = np.linalg.norm(points - camera.position, axis=1) - np.linalg.norm(camera.position)
        if hit.any():
            away, (row, column) = distance_transform_edt(~inside, return_indices=True)
            depth = depth.reshape(size, size)[row, column]
            weight = np.where(inside, self.weights(points).reshape(size, size), away <= MARGIN_PX)
        else:
            depth, weight = np.zeros((size, size)), np.zeros((size, size))
        return TruePicture(
            np.rint(np.where(hit[:, None], np.clip(colors, 0, 1), 0) * 255).astype(np.uint8).reshape(size, size, 3),
            depth.astype(np.float16),
            inside.astype(np.uint8),
            weight.astype(np.uint8),
            camera,
        )

    def weights(self, points: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n"]:
        """How much what is seen at canonical points counts."""
        weight = np.where(np.linalg.norm(points - FACE_CENTRE_M, axis=1) < FACE_RADIUS_M, FACE_WEIGHT, 1)
        for eye in self.eyes:
            weight[np.linalg.norm(points - eye, axis=1) < EYE_RADIUS_M] = EYES_WEIGHT
        weight[np.abs(points).max(1) > self.side / 2 - CUT_M] = 0
        return weight.astype(np.uint8)


def random_camera(rng: np.random.Generator) -> Camera:
    """Somewhere around the head, in front of the face more often than not; nearer cameras look at the face."""
    is_front = rng.random() < FRONT_SHARE
    yaw = rng.uniform(-FRONT_DEG, FRONT_DEG) if is_front else rng.uniform(-180, 180)
    frame = rng.uniform(*FRAME_M)
    nearness = (FRAME_M[1] - frame) / (FRAME_M[1] - FRAME_M[0])
    return look_at_camera(
        yaw_deg=float(yaw),
        pitch_deg=float(np.clip(rng.normal(0, PITCH_DEG), -3 * PITCH_DEG, 3 * PITCH_DEG)),
        distance=DISTANCE_M,
        focal=float(DISTANCE_M / frame),
        target=float(nearness * is_front) * FACE_CENTRE_M,
    )


def true_pictures(
    generator: StarterGenerator,
    canonical: CanonicalSet,
    heads: Sequence[TrainingHead],
    work: Path,
    *,
    plan: PicturePlan,
    heads_name: str,
    workers: int,
) -> list[list[TruePicture]]:
    """The pictures of the first training heads, in shards that are read again the next time.

    Args:
        generator: For the bare body; on the CPU.
        canonical: Points, hair and tops.
        heads: Training heads.
        work: For the shards.
        plan: How many.
        heads_name: Changes when the heads do.
        workers: Processes.

    Returns:
        For each head its views.

    Raises:
        ModelError: A shard is damaged.
        OutputError: A shard cannot be written.
    """
    given = (generator.body.numpy().tobytes(), generator.face.numpy().tobytes(), heads_name, plan.views, plan.size_px)
    folder = work / kept_name("pictures", modules=SOURCES, numbers=given).removesuffix(".pickle")
    chosen = heads[: plan.heads]
    tasks = []
    for start in range(0, len(chosen), SHARD_HEADS):
        part = list(chosen[start : start + SHARD_HEADS])
        tasks.append(Shard(folder / f"{start:05d}-{len(part)}.pickle", start, part, plan))
    given_once = (generator, canonical)
    shards = in_parallel(_views_of, tasks, workers=workers, prepare=_keep_photographer, given=given_once)
    return [views for shard in shards for views in shard]


@dataclass(frozen=True)
class Shard:
    """Some heads' pictures and the file that keeps them.

    Args:
        file: Of the pictures.
        first: Number of the first head.
        heads: The heads.
        plan: How many pictures.
    """

    file: Path
    first: int
    heads: list[TrainingHead]
    plan: PicturePlan


_photographer: list[Photographer] = []  # Of this process.


def _keep_photographer(generator: StarterGenerator, canonical: CanonicalSet) -> None:
    _photographer[:] = [Photographer(generator, canonical)]


def _views_of(shard: Shard) -> list[list[TruePicture]]:
    numbered = list(enumerate(shard.heads, shard.first))
    return kept(shard.file, lambda: [_photographer[0].pictures(head, number, shard.plan) for number, head in numbered])
