# SPDX-License-Identifier: Apache-2.0
"""The super-resolution of a student learns the teacher's sharp pictures; planes and decoder stay."""

import math

import torch
from torch import Tensor

from backend.camera import look_at_camera
from backend.generator.family import signed_features
from backend.generator.plane_generator import PlaneGenerator
from backend.inversion.cameras import cameras_of
from backend.progress import Log
from backend.training.distill_config import DistillConfig
from backend.training.distill_planes import ADVICE
from backend.training.distill_teacher import Teacher, numbers_of
from backend.training.run import descend

YAWS_DEG, PITCHES_DEG = (-50.0, 50.0), (-15.0, 15.0)


def teach_pictures(
    teacher: Teacher, student: PlaneGenerator, z: Tensor, config: DistillConfig, random: torch.Generator, log: Log
) -> None:
    """Train the super-resolution in place.

    Args:
        teacher: Shows its heads.
        student: Its planes are trained.
        z: Of heads that are shown, each once and from the first again.
        config: The run.
        random: Draws cameras and lessons.
        log: Called with lines of text.

    Raises:
        ModelError: The loss or its gradient is no longer a number.
    """
    seen = [_lesson(teacher, student, z[number % len(z)][None], random) for number in range(config.pictures)]
    log(f"{len(seen)} pictures")
    learning = list(student.superresolution.parameters())
    optimizer = torch.optim.Adam(learning, lr=config.learning_rate / 2, betas=(0.9, 0.99))
    for step in range(1, config.picture_steps + 1):
        ws, features, truth = seen[int(torch.randint(0, len(seen), (1,), generator=random))]
        loss = (student.superresolution(features[:, :3], features, ws) - truth).abs().mean()
        descend(optimizer, loss, clip=math.inf, step=step, advice=ADVICE)
        if step % 50 == 0:
            log(f"picture step {step}  error {loss.item():.4f}")


@torch.no_grad()
def _lesson(teacher: Teacher, student: PlaneGenerator, z: Tensor, random: torch.Generator) -> tuple[Tensor, ...]:
    """Style, rendered features and the teacher's sharp picture of a head from somewhere before it."""
    turn = torch.rand(2, generator=random).tolist()
    yaw, pitch = (low + share * (high - low) for share, (low, high) in zip(turn, (YAWS_DEG, PITCHES_DEG), strict=True))
    place, ws = student.config.camera, student.make_ws(z, torch.zeros(1, 25))
    camera = look_at_camera(yaw_deg=yaw, pitch_deg=pitch, distance=place.radius, focal=place.focal)
    seen = cameras_of(camera)
    rendering = student.render(student.make_planes(ws, noise="none"), seen.cam2world, seen.intrinsics)
    side = student.config.neural_resolution
    features = signed_features(rendering, student.config).transpose(1, 2).unflatten(2, (side, side))
    side_px = student.superresolution.config.output_resolution
    return ws, features, teacher.head(numbers_of(z)[0]).picture(camera, side_px)[None]
