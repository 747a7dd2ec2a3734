# SPDX-License-Identifier: Apache-2.0
"""A small generator in EG3D's layout that learns the starter's heads, so that tools for EG3D have free weights.

The first numbers of its ``z`` tell the teacher's head (see ``distill_teacher``); the camera label has no effect.
The planes and the decoder learn coloured points in space; then the super-resolution learns pictures.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backend.camera import look_at_camera
from backend.errors import ModelError
from backend.generator.config import GeneratorConfig, RenderConfig, SuperResolutionConfig
from backend.generator.family import signed_features
from backend.generator.layers import FullyConnected
from backend.generator.mapping import normalize_power
from backend.generator.plane_generator import PlaneGenerator
from backend.inversion.cameras import cameras_of
from backend.models import write_weights
from backend.staging import check_output, staging
from backend.starter import Starter
from backend.training.distill_teacher import NUMBERS, HeadPoints, Teacher, picture

STUDENT = GeneratorConfig(
    w_dim=128,
    channel_base=4096,
    channel_max=64,
    plane_resolution=64,
    neural_resolution=64,
    render=RenderConfig(coarse_samples=32, fine_samples=32),
    superresolution=SuperResolutionConfig(input_resolution=64, channels=(16, 8)),
)
# The density rises so steeply below the surface that half of a ray's light is gone where the surface is.
STEEPNESS = 8000.0  # Per unit and unit.
DEEP = math.sqrt(2 * math.log(2) / STEEPNESS)  # From where the density rises to the surface, units.
LOWEST, HIGHEST = -8.0, 130.0  # Of the density before activation.
DENSITY_SCALE, COLOR_WEIGHT = 20.0, 10.0
COLORED = 0.012  # Points further from the surface have no colour, units.
OUTSIDE_POINTS = 64  # Of each head in a step, beyond the planes.
YAWS_DEG, PITCHES_DEG = (-50.0, 50.0), (-15.0, 15.0)

SUFFIXES = (".safetensors", ".pth", ".pt")

Log = Callable[[str], None]


@dataclass(frozen=True)
class DistillConfig:
    """One run.

    Args:
        seconds: Of processor time for the planes; steps end there.
        heads: Of the teacher.
        pool: Points that the heads are looked at.
        points: Of them, kept of each head.
        heads_per_step: Batch size.
        points_per_head: Points of each head in a step.
        learning_rate: Highest rate of Adam.
        pictures: For the super-resolution; 0 leaves it as it starts, an enlargement.
        picture_steps: Steps of the super-resolution.
        seed: Of weights, heads and batches.
    """

    seconds: float = 720.0
    heads: int = 300
    pool: int = 60_000
    points: int = 20_000
    heads_per_step: int = 2
    points_per_head: int = 2048
    learning_rate: float = 3e-3
    pictures: int = 48
    picture_steps: int = 200
    seed: int = 0


def new_student(config: GeneratorConfig = STUDENT, *, seed: int) -> PlaneGenerator:
    """A generator whose ``w`` holds pairs of opposite projections of the numbers that tell a head, and nothing else."""
    torch.manual_seed(seed)
    student = PlaneGenerator(config)
    with torch.no_grad():
        first, second = (cast(FullyConnected, student.backbone.mapping.get_submodule(f"fc{i}")) for i in range(2))
        half = torch.randn(config.w_dim // 2, NUMBERS) / math.sqrt(NUMBERS)
        _set_weight(first, torch.cat([half, -half]), columns=NUMBERS)
        _set_weight(second, torch.eye(config.w_dim), columns=config.w_dim)
        cast(FullyConnected, student.decoder.net[2]).weight[0] *= DENSITY_SCALE
        # At first the super-resolution only enlarges.
        for block in (student.superresolution.block0, student.superresolution.block1):
            block.torgb.weight.zero_()
        for name, value in student.named_buffers():
            if name.endswith("noise_const"):
                value.zero_()
    return student


def numbers_of(z: Tensor) -> np.ndarray:
    """What the mapping makes of a batch of ``z``: the numbers that tell the teacher's heads."""
    return normalize_power(z)[:, :NUMBERS].double().numpy()


def teach(teacher: Teacher, student: PlaneGenerator, config: DistillConfig, log: Log) -> None:
    """Train a student in place.

    Raises:
        ModelError: The loss is no longer a number.
    """
    random = torch.Generator().manual_seed(config.seed)
    z = torch.randn((config.heads, student.config.z_dim), generator=random)
    z[0] = 0
    heads = teacher.points(numbers_of(z), config.points)
    log(f"{len(z)} heads of {config.points} points")
    _teach_planes(student, heads, z, config, random, log)
    if config.pictures:
        _teach_pictures(teacher, student, z, config, random, log)
    with torch.no_grad():
        samples = student.make_ws(torch.randn((4096, student.config.z_dim), generator=random), torch.zeros(4096, 25))
        student.backbone.mapping.w_avg.copy_(samples[:, 0].mean(0))


def target_density(distance: Tensor) -> Tensor:
    """Density before activation at a signed distance, units."""
    return (STEEPNESS * (DEEP - distance)).clamp(LOWEST, HIGHEST)


def _teach_planes(
    student: PlaneGenerator, heads: HeadPoints, z: Tensor, config: DistillConfig, random: torch.Generator, log: Log
) -> None:
    """Coloured points, until the time is spent; the rate falls with it. The mapping stays."""
    learning = [*student.backbone.synthesis.parameters(), *student.decoder.parameters()]
    optimizer = torch.optim.Adam(learning, lr=config.learning_rate, betas=(0.9, 0.99))
    start, step, done = time.process_time(), 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (step + 1) / 30) * 20.0 ** -max(0.0, (done - 0.4) / 0.6)
        losses = _point_losses(student, heads, z, config, random)
        loss = losses["density"] + COLOR_WEIGHT * losses["color"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        optimizer.step()
        step, done = step + 1, (time.process_time() - start) / config.seconds
        if not math.isfinite(loss.item()):
            raise ModelError(f"Training diverged at step {step}. Try another --seed.", code="training_diverged")
        if step % 100 == 0:
            log(f"step {step}  " + "  ".join(f"{name} {value.item():.4f}" for name, value in losses.items()))


def _point_losses(
    student: PlaneGenerator, heads: HeadPoints, z: Tensor, config: DistillConfig, random: torch.Generator
) -> dict[str, Tensor]:
    chosen = torch.randperm(len(z), generator=random)[: config.heads_per_step]
    index = torch.randint(0, heads.places.shape[1], (len(chosen), config.points_per_head), generator=random)
    rows = chosen[:, None]
    places, distance = heads.places[rows, index], heads.distance[rows, index]
    colors = heads.colors[rows, index].float() / 255
    outside = torch.rand((len(chosen), OUTSIDE_POINTS, 3), generator=random) * 1.2 - 0.6
    is_outside = (outside.abs() > student.config.side / 2).any(-1)
    planes = student.make_planes(student.make_ws(z[chosen], torch.zeros(len(chosen), 25)), noise="none")
    raw, features = student.raw_field(planes, torch.cat([places, outside], dim=1))
    raw_in, raw_out = raw.split([places.shape[1], OUTSIDE_POINTS], dim=1)
    density = _density_loss(raw_in, target_density(distance))
    density = density + (_density_loss(raw_out, torch.full_like(raw_out, LOWEST), is_outside.float()) / 10)
    near = (distance.abs() < COLORED).float()[..., None]
    shown = features[:, : places.shape[1], :3]
    color = ((shown - colors).abs() * near).sum() / (3 * near.sum())
    return {"density": density, "color": color}


def _density_loss(raw: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """What is emptier than empty, or denser than dense, is right."""
    forgiven = torch.where(target <= LOWEST, raw.clamp(min=LOWEST), raw)
    forgiven = torch.where(target >= HIGHEST, forgiven.clamp(max=HIGHEST), forgiven)
    error = functional.smooth_l1_loss(forgiven, target, reduction="none") / DENSITY_SCALE
    return error.mean() if weight is None else (error * weight).sum() / weight.sum().clamp(min=1)


def _teach_pictures(
    teacher: Teacher, student: PlaneGenerator, z: Tensor, config: DistillConfig, random: torch.Generator, log: Log
) -> None:
    """The super-resolution, on pictures of the teacher's meshes; planes and decoder stay."""
    seen = [_lesson(teacher, student, z[number % len(z)][None], random) for number in range(config.pictures)]
    log(f"{len(seen)} pictures")
    learning = list(student.superresolution.parameters())
    optimizer = torch.optim.Adam(learning, lr=config.learning_rate / 2, betas=(0.9, 0.99))
    for step in range(1, config.picture_steps + 1):
        ws, features, truth = seen[int(torch.randint(0, len(seen), (1,), generator=random))]
        loss = (student.superresolution(features[:, :3], features, ws) - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
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
    mesh = teacher.mesh(teacher.codes(numbers_of(z)[0]))
    side_px = student.superresolution.config.output_resolution
    return ws, features, picture(mesh, camera, side_px)[None]


def _set_weight(layer: FullyConnected, weight: Tensor, *, columns: int) -> None:
    """The weight that a layer is to use in its first columns; the others and the bias have no effect."""
    layer.weight.zero_()
    layer.weight[:, :columns] = weight * (math.sqrt(layer.weight.shape[1]) / layer.lr_multiplier)


def distill(starter: Starter, config: DistillConfig, log: Log, *, student: GeneratorConfig = STUDENT) -> PlaneGenerator:
    """A trained student of the starter.

    Args:
        starter: The teacher.
        config: The run.
        log: Called with lines of text.
        student: Sizes.

    Raises:
        ModelError: The loss is no longer a number.
    """
    generator = new_student(student, seed=config.seed)
    teach(Teacher(starter, seed=config.seed, pool_points=config.pool), generator, config, log)
    return generator.eval().requires_grad_(False)


def save_student(path: Path, student: PlaneGenerator, teacher: dict[str, str]) -> None:
    """Write a student's tensors under EG3D's names, in half precision.

    Args:
        path: ``.safetensors``, with options and terms in its header, or ``.pth`` or ``.pt``, a bare state dict.
        student: Trained.
        teacher: Identity of the starter; its terms are the student's.

    Raises:
        SettingsError: The path has another suffix.
        OutputError: It cannot be written.
    """
    check_output(path, SUFFIXES)
    tensors = {name: value.half() for name, value in student.state_dict().items()}
    notes = {
        "family": student.config.family,
        "config": json.dumps(student.config.to_dict()),
        "licence": teacher["licence"],
        "licence_text": f"Made from Protome's starter ({teacher['id']}), under its terms: {teacher['licence']}.",
        "commercial_use": teacher["commercial_use"],
    }

    def write(file: Path) -> None:
        if file.suffix.lower() == ".safetensors":
            write_weights(file, tensors, notes)
        else:
            torch.save(tensors, file)

    with staging() as stage:
        stage(path, write)
