# SPDX-License-Identifier: Apache-2.0
"""Planes and decoder of a student learn coloured points of the teacher's heads, coarse to fine.

The skip sum of a backbone lets its coarser blocks alone make planes of their side. They learn where skin, hair and
clothes are in a fraction of a full step's time; finer blocks join when that is known, at first without effect.

Source:
    Karras et al. 2018, Progressive Growing of GANs, arXiv:1710.10196, for the growth.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from backend.generator.plane_generator import PlaneGenerator
from backend.progress import Log
from backend.training.distill_config import DistillConfig
from backend.training.distill_teacher import HeadPoints
from backend.training.run import descend

# The density rises so steeply below the surface that half of a ray's light is gone where the surface is.
STEEPNESS = 8000.0  # Per unit and unit.
DEEP = math.sqrt(2 * math.log(2) / STEEPNESS)  # From where the density rises to the surface, units.
LOWEST, HIGHEST = -8.0, 130.0  # Of the density before activation.
DENSITY_SCALE, COLOR_WEIGHT = 20.0, 15.0
COLORED = 0.012  # Points further from the surface have no colour, units.
# Points of a head that are moved out of the planes' cube, where rays still go: one plane alone, which goes on there,
# must not be mistaken for a head.
OUTSIDE_SHARE, OUTSIDE_REACH = 0.1, 0.25
GROWTH = ((4, 0.15), (2, 0.25), (1, 0.6))  # What divides the planes' side, and its share of the time.
WARM_STEPS, LAST_RATE = 30, 0.04
CLIP = 5.0  # Largest norm of the gradient.
ADVICE = "Try another --seed."

Keep = Callable[[], None]


def target_density(distance: Tensor) -> Tensor:
    """Density before activation at a signed distance, units."""
    return (STEEPNESS * (DEEP - distance)).clamp(LOWEST, HIGHEST)


def coarse_student(student: PlaneGenerator, side: int) -> PlaneGenerator:
    """The student without its finer blocks: it shares the weights of the others and of the decoder.

    Args:
        student: Its finer blocks are left out.
        side: Of the planes, pixels.
    """
    coarse = PlaneGenerator(replace(student.config, plane_resolution=side, superresolution=None))
    for name, _ in coarse.backbone.synthesis.named_children():
        coarse.backbone.synthesis.add_module(name, student.backbone.synthesis.get_submodule(name))
    coarse.backbone.mapping.load_state_dict(student.backbone.mapping.state_dict())
    coarse.decoder = student.decoder
    return coarse


def teach_planes(
    student: PlaneGenerator,
    heads: HeadPoints,
    z: Tensor,
    config: DistillConfig,
    random: torch.Generator,
    *,
    log: Log,
    keep: Keep,
) -> None:
    """Train the planes and the decoder in place until the time is spent; the mapping stays.

    Args:
        student: As ``new_student`` makes it.
        heads: What it learns.
        z: Of each head.
        config: The run.
        random: Draws heads and points.
        log: Called with lines of text.
        keep: Called now and then.

    Raises:
        ModelError: The loss is no longer a number.
    """
    for divisor, share in GROWTH:
        side = student.config.plane_resolution // divisor
        log(f"planes of {side} pixels")
        stage = replace(
            config,
            seconds=share * config.seconds,
            heads_per_step=config.heads_per_step * divisor,
            points_per_head=config.points_per_head // divisor,
        )
        rate_at_end = LAST_RATE if divisor == 1 else 1.0
        _teach_stage(
            coarse_student(student, side), heads, z, stage, random, rate_at_end=rate_at_end, log=log, keep=keep
        )


def _teach_stage(
    student: PlaneGenerator,
    heads: HeadPoints,
    z: Tensor,
    config: DistillConfig,
    random: torch.Generator,
    *,
    rate_at_end: float,
    log: Log,
    keep: Keep,
) -> None:
    """One stage; its rate falls along half a cosine."""
    learning = [*student.backbone.synthesis.parameters(), *student.decoder.parameters()]
    optimizer = torch.optim.Adam(learning, lr=config.learning_rate, betas=(0.9, 0.99))
    start, step, done, kept = time.process_time(), 0, 0.0, time.process_time()
    while done < 1:
        fallen = 1 - (1 - rate_at_end) * (1 - math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (step + 1) / WARM_STEPS) * fallen
        losses = point_losses(student, heads, z, config, random)
        loss = losses["density"] + COLOR_WEIGHT * losses["color"]
        descend(optimizer, loss, clip=CLIP, step=step, advice=ADVICE)
        now = time.process_time()
        step, done = step + 1, (now - start) / config.seconds
        if step % 100 == 0:
            log(f"step {step}  " + "  ".join(f"{name} {value.item():.4f}" for name, value in losses.items()))
        if now - kept > config.keep_every:
            keep()
            kept = now


def point_losses(
    student: PlaneGenerator, heads: HeadPoints, z: Tensor, config: DistillConfig, random: torch.Generator
) -> dict[str, Tensor]:
    """How far some heads are off at some of their points, and beyond the planes."""
    chosen = torch.randint(0, len(z), (config.heads_per_step,), generator=random)
    index = torch.randint(0, heads.places.shape[1], (len(chosen), config.points_per_head), generator=random)
    rows = chosen[:, None]
    places, distance = heads.places[rows, index], heads.distance[rows, index]
    colors = heads.colors[rows, index].float() / 255
    outside = _moved_out(places[:, : math.ceil(OUTSIDE_SHARE * config.points_per_head)], student.config.side, random)
    planes = student.make_planes(student.make_ws(z[chosen], torch.zeros(len(chosen), 25)), noise="none")
    raw, features = student.raw_field(planes, torch.cat([places, outside], dim=1))
    raw_in, raw_out = raw.split([places.shape[1], outside.shape[1]], dim=1)
    density = density_loss(raw_in, target_density(distance))
    density = density + OUTSIDE_SHARE * density_loss(raw_out, torch.full_like(raw_out, LOWEST))
    near = (distance.abs() < COLORED).float()[..., None]
    shown = features[:, : places.shape[1], :3]
    color = ((shown - colors).abs() * near).sum() / (3 * near.sum())
    return {"density": density, "color": color}


def _moved_out(places: Tensor, side: float, random: torch.Generator) -> Tensor:
    """Points carried along y or z to just beyond the cube, on either side."""
    axis = torch.randint(1, 3, (*places.shape[:2], 1), generator=random)
    away = side * (0.5 + OUTSIDE_REACH * torch.rand(axis.shape, generator=random))
    sign = torch.randint(0, 2, axis.shape, generator=random) * 2 - 1
    return places.scatter(-1, axis, away * sign)


def density_loss(raw: Tensor, target: Tensor) -> Tensor:
    """What is emptier than empty, or denser than dense, is right."""
    forgiven = torch.where(target <= LOWEST, raw.clamp(min=LOWEST), raw)
    forgiven = torch.where(target >= HIGHEST, forgiven.clamp(max=HIGHEST), forgiven)
    return functional.smooth_l1_loss(forgiven, target) / DENSITY_SCALE
