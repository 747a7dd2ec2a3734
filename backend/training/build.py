# SPDX-License-Identifier: Apache-2.0
"""From assets to the starter model's file, in steps that are kept and taken up again."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from backend.starter import Starter, save_starter
from backend.template import Template
from backend.training.calibrate import calibrate_landmarks
from backend.training.canonical import CanonicalSet
from backend.training.dataset import BALD, TrainingHead, sample_training_head
from backend.training.heads import HeadShapes
from backend.training.kept import kept
from backend.training.person import Population
from backend.training.portraits import PortraitStudio
from backend.training.prepare import DISTANCE_RANGE_M, Prepared, load_heads, prepare
from backend.training.sliders import build_directions
from backend.training.solid import BodySolid
from backend.training.starter import Trainer, TrainingConfig, measure, new_generator

IDENTITY = {
    "id": "protome-starter-1",
    "family": "starter",
    "licence": "CC0-1.0",
    "commercial_use": "yes",
}
Log = Callable[[str], None]


@dataclass(frozen=True)
class Preset:
    """How much of everything.

    Args:
        shapes: Head shapes behind the bases.
        components: Shape codes kept.
        portraits: Rendered portraits behind the landmark embedding.
        heads: Training heads.
        held_out: Heads that are never trained on, drawn first.
        population: Heads behind the person sliders.
        candidates_per_style: Descriptions of each hair style from which inversion may start.
        training: The networks' run.
    """

    shapes: int
    components: int
    portraits: int
    heads: int
    held_out: int
    population: int
    candidates_per_style: int
    training: TrainingConfig


CPU = Preset(
    shapes=600,
    components=64,
    portraits=70,
    heads=2400,
    held_out=48,
    population=300,
    candidates_per_style=5,
    training=TrainingConfig(steps=2400),
)


def build_starter(assets: Path, work: Path, out: Path, *, preset: Preset, log: Log) -> dict[str, float]:
    """Make the model; every finished step is read from ``work`` the next time.

    Args:
        assets: Holds ``makehuman`` (CC0) and ``ict_facekit`` (MIT).
        work: For intermediate results and checkpoints.
        out: The model's file.
        preset: How much.
        log: Hears of every step.

    Returns:
        Colour PSNR in dB and outer-surface error in mm on the held-out heads.
    """
    work.mkdir(parents=True, exist_ok=True)
    shapes = load_heads(assets)
    prepared = prepare(shapes, work, samples=preset.shapes, components=preset.components, seed=1, log=log)
    template = kept(work / "template.pickle", lambda: _calibrated(shapes, prepared, preset, log))
    heads = kept(work / "heads.pickle", lambda: _training_heads(shapes, prepared.canonical, preset, log))
    held_out, trained_on = heads[: preset.held_out], heads[preset.held_out :]
    generator = new_generator(prepared, trained_on, preset.training.seed)
    trainer = Trainer(generator, trained_on, prepared.canonical, config=preset.training, folder=work / "run")
    trainer.resume()
    log(f"training from step {trainer.step} to {preset.training.steps}")
    trainer.run()
    generator.load_state_dict(trainer.average)
    generator.eval()
    scores = measure(generator, held_out, prepared.canonical)
    log(f"held-out heads: {json.dumps(scores)}")
    population = _population(shapes, prepared, template, heads[: preset.population])
    starter = Starter(
        generator,
        template,
        build_directions(template, generator, population),
        torch.from_numpy(_candidates(trained_on, preset.candidates_per_style)),
        IDENTITY,
    )
    save_starter(out, starter, distance_scale=DISTANCE_RANGE_M / 127)
    log(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")
    return scores


def _candidates(heads: list[TrainingHead], per_style: int) -> Float[np.ndarray, "k z_dim"]:
    """An ordinary head, then some of every hair style."""
    rows = [np.median([head.z for head in heads], axis=0)]
    for style in range(BALD + 1):
        rows += [head.z for head in heads if head.dressing.style == style][:per_style]
    return np.stack(rows).astype(np.float32)


def _calibrated(shapes: HeadShapes, prepared: Prepared, preset: Preset, log: Log) -> Template:
    solid = BodySolid(shapes.makehuman, prepared.parted_base)
    studio = PortraitStudio(shapes.makehuman, solid, prepared.canonical, prepared.template)
    return calibrate_landmarks(shapes, studio, portraits=preset.portraits, rng=np.random.default_rng(5), log=log)


def _training_heads(shapes: HeadShapes, canonical: CanonicalSet, preset: Preset, log: Log) -> list[TrainingHead]:
    heads = []
    for number in range(preset.held_out + preset.heads):
        rng = np.random.default_rng([7, number])
        heads.append(sample_training_head(rng, shapes.sample(rng), canonical))
        if (number + 1) % 500 == 0:
            log(f"{number + 1} training heads")
    return heads


def _population(shapes: HeadShapes, prepared: Prepared, template: Template, heads: list[TrainingHead]) -> Population:
    """The first training heads again, with the identities behind them and their shape codes."""
    basis = template.shape.reshape(len(template.shape), -1)
    identities, codes = [], []
    for number in range(len(heads)):
        identity = shapes.sample(np.random.default_rng([7, number]))
        offsets = prepared.anchors.read(shapes.makehuman, shapes.build(identity)) - template.vertices - template.neutral
        identities.append(identity)
        codes.append(basis @ offsets.ravel() / (basis**2).sum(1))
    return Population(identities, np.stack(codes), heads)
