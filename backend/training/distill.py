# SPDX-License-Identifier: Apache-2.0
"""A small generator in EG3D's layout that learns the starter's heads, so that tools for EG3D have free weights.

The first numbers of its ``z`` tell the teacher's head (see ``distill_teacher``); the camera label has no effect.
The planes and the decoder learn coloured points in space; then the super-resolution learns pictures.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from backend.generator.config import GeneratorConfig
from backend.generator.layers import FullyConnected
from backend.generator.plane_generator import PlaneGenerator
from backend.generator.synthesis import SynthesisBlock
from backend.models import write_weights
from backend.progress import Log
from backend.staging import check_output, staging
from backend.starter import Starter
from backend.training.distill_config import STUDENT, DistillConfig
from backend.training.distill_pictures import teach_pictures
from backend.training.distill_planes import DENSITY_SCALE, GROWTH, Keep, teach_planes
from backend.training.distill_teacher import NUMBERS, Teacher, numbers_of

SUFFIXES = (".safetensors", ".pth", ".pt")


def new_student(config: GeneratorConfig = STUDENT, *, seed: int) -> PlaneGenerator:
    """A generator whose ``w`` holds pairs of opposite projections of the numbers that tell a head, and nothing else.

    Its finest blocks and its super-resolution have no effect yet.
    """
    torch.manual_seed(seed)
    student = PlaneGenerator(config)
    with torch.no_grad():
        first, second = (cast(FullyConnected, student.backbone.mapping.get_submodule(f"fc{i}")) for i in range(2))
        half = torch.randn(config.w_dim // 2, NUMBERS) / math.sqrt(NUMBERS)
        _set_weight(first, torch.cat([half, -half]), columns=NUMBERS)
        _set_weight(second, torch.eye(config.w_dim), columns=config.w_dim)
        samples = student.make_ws(torch.randn(4096, config.z_dim), torch.zeros(4096, config.c_dim))
        student.backbone.mapping.w_avg.copy_(samples[:, 0].mean(0))
        cast(FullyConnected, student.decoder.net[2]).weight[0] *= DENSITY_SCALE
        for divisor, _ in GROWTH[1:]:
            block = student.backbone.synthesis.get_submodule(f"b{config.plane_resolution // divisor}")
            cast(SynthesisBlock, block).torgb.weight.zero_()
        # At first the super-resolution only enlarges.
        for block in (student.superresolution.block0, student.superresolution.block1):
            block.torgb.weight.zero_()
        for name, value in student.named_buffers():
            if name.endswith("noise_const"):
                value.zero_()
    return student


def teach(
    teacher: Teacher, student: PlaneGenerator, config: DistillConfig, log: Log, keep: Keep = lambda: None
) -> None:
    """Train a student in place.

    Args:
        teacher: Has the heads.
        student: As ``new_student`` makes it.
        config: The run.
        log: Called with lines of text.
        keep: Called now and then, when the student is worth keeping.

    Raises:
        ModelError: The loss is no longer a number.
    """
    random = torch.Generator().manual_seed(config.seed)
    z = torch.randn((config.heads, student.config.z_dim), generator=random)
    z[0] = 0
    heads = teacher.points(numbers_of(z), config.points)
    log(f"{len(z)} heads of {config.points} points")
    teach_planes(student, heads, z, config, random, log=log, keep=keep)
    keep()
    if config.pictures:
        teach_pictures(teacher, student, z, config, random, log)


def _set_weight(layer: FullyConnected, weight: Tensor, *, columns: int) -> None:
    """The weight that a layer is to use in its first columns; the others and the bias have no effect."""
    layer.weight.zero_()
    layer.weight[:, :columns] = weight * (math.sqrt(layer.weight.shape[1]) / layer.lr_multiplier)


def distill(
    starter: Starter,
    config: DistillConfig,
    log: Log,
    *,
    student: GeneratorConfig = STUDENT,
    keep: Callable[[PlaneGenerator], None] = lambda _: None,
) -> PlaneGenerator:
    """A trained student of the starter.

    Args:
        starter: The teacher.
        config: The run.
        log: Called with lines of text.
        student: Sizes.
        keep: Called now and then with the student as it stands.

    Raises:
        ModelError: The loss is no longer a number.
    """
    generator = new_student(student, seed=config.seed)
    teach(Teacher(starter, seed=config.seed, pool_points=config.pool), generator, config, log, lambda: keep(generator))
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
