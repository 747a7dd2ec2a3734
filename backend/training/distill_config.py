# SPDX-License-Identifier: Apache-2.0
"""Sizes of a student of the starter, and of a run that trains it."""

from dataclasses import dataclass

from backend.generator.config import GeneratorConfig, RenderConfig, SuperResolutionConfig

# A pixel of a plane is 3 mm of a face: with twice that, eyes and lips are spots.
STUDENT = GeneratorConfig(
    w_dim=128,
    channel_base=4096,
    channel_max=64,
    plane_resolution=128,
    neural_resolution=128,
    render=RenderConfig(coarse_samples=24, fine_samples=24),
    superresolution=SuperResolutionConfig(kind="4X", input_resolution=128, channels=(32, 16)),
)


@dataclass(frozen=True)
class DistillConfig:
    """One run.

    Args:
        seconds: Of processor time for the planes; steps end there.
        heads: Of the teacher.
        pool: Points that the heads are looked at.
        points: Of them, kept of each head.
        heads_per_step: Batch size of the finest planes; coarser ones take more heads.
        points_per_head: Points of each head in a step of the finest planes; coarser ones take fewer.
        learning_rate: Highest rate of Adam.
        pictures: For the super-resolution; 0 leaves it as it starts, an enlargement.
        picture_steps: Steps of the super-resolution.
        keep_every: Seconds of processor time between states that are kept.
        seed: Of weights, heads and batches.
    """

    seconds: float = 480.0
    heads: int = 80
    pool: int = 80_000
    points: int = 30_000
    heads_per_step: int = 1
    points_per_head: int = 12_000
    learning_rate: float = 5e-3
    pictures: int = 16
    picture_steps: int = 150
    keep_every: float = 30.0
    seed: int = 0
