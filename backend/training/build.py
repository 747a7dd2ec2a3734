# SPDX-License-Identifier: Apache-2.0
"""From assets to the starter model's file, in steps that are kept and taken up again."""

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from backend.generator.starter import StarterConfig, StarterGenerator
from backend.progress import Log
from backend.starter import Starter, save_starter
from backend.template import Template
from backend.training.calibrate import calibrated_template
from backend.training.canonical import CanonicalSet
from backend.training.critic import CriticConfig
from backend.training.crowd import in_parallel
from backend.training.dataset import Painter, TrainingHead
from backend.training.dressing import BALD
from backend.training.figures import show_progress
from backend.training.heads import HeadShapes
from backend.training.kept import folder_name, kept, kept_name
from backend.training.patches import PatchConfig
from backend.training.person import Population, shape_code
from backend.training.phases import Lessons, Phases, train
from backend.training.pictures import measure_pictures
from backend.training.prepare import Prepared, load_heads, prepare
from backend.training.sliders import build_directions
from backend.training.start import new_generator
from backend.training.starter import TrainingConfig, measure
from backend.training.true_pictures import PicturePlan, TruePicture, true_pictures

IDENTITY = {
    "id": "protome-starter-2",
    "family": "starter",
    "licence": "CC0-1.0",
    "commercial_use": "yes",
}
SHEET_HEADS, MEASURED_PICTURES = 4, 24
HEAD_SEED = 7
# Files of this package that decide what a training head is.
HEAD_SOURCES = (
    "appearance", "dataset", "dressing", "eyes", "face_hair", "hair", "heads", "noise", "paint", "skin", "skin_points",
    "tops",
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """How much of everything.

    Args:
        shapes: Head shapes behind the bases.
        components: Shape codes kept.
        portraits: Rendered portraits behind the landmark embedding; sliders need those that 8 of them show.
        heads: Training heads.
        held_out: Heads that are never trained on, drawn first.
        population: Heads behind the person sliders.
        picture_px: Side of the pictures by which the networks are shown and measured.
        candidates_per_style: Descriptions of each hair style from which inversion may start.
        generator: Sizes of the networks; those that follow from the heads are set later.
        training: The networks' run, in its phases.
    """

    shapes: int
    components: int
    portraits: int
    heads: int
    held_out: int
    population: int
    picture_px: int
    candidates_per_style: int
    generator: StarterConfig
    training: Phases


CPU = Preset(
    shapes=600,
    components=64,
    portraits=70,
    heads=4000,
    held_out=200,
    population=300,
    picture_px=128,
    candidates_per_style=5,
    generator=StarterConfig(z_dim=0),
    training=Phases(
        points=TrainingConfig(steps=9000),
        # 100 to 200 steps after 4 050 of phase A, with 175 pictures, gained nothing on held-out heads.
        patches=TrainingConfig(steps=0, points_per_head=3072, learning_rate=3e-4, warmup_steps=20),
        adversarial=TrainingConfig(steps=0),
        pictures=PicturePlan(heads=800, views=1, size_px=192),
    ),
)
# Half an hour of one large GPU; the heads come from the cores of its machine.
GPU = replace(
    CPU,
    heads=24000,
    generator=StarterConfig(z_dim=0, channels=(128, 160, 160, 128, 80), decoder_hidden=96),
    training=Phases(
        points=TrainingConfig(steps=15000, heads_per_step=32, points_per_head=8192, learning_rate=3e-3),
        patches=TrainingConfig(steps=4000, heads_per_step=32, points_per_head=4096, learning_rate=6e-4),
        adversarial=TrainingConfig(steps=2000, heads_per_step=32, points_per_head=4096, learning_rate=3e-4),
        pictures=PicturePlan(heads=4000, views=2, size_px=256),
        patch=PatchConfig(heads_per_step=16, patch_px=64),
    ),
)
# For tests of the whole way; what it makes is of no use.
TINY = Preset(
    shapes=6,
    components=3,
    portraits=24,
    heads=9,
    held_out=1,
    population=8,
    picture_px=24,
    candidates_per_style=1,
    generator=StarterConfig(z_dim=0, w_dim=128, plane_resolution=32, plane_channels=4, channels=(8, 8, 8), basis=4),
    training=Phases(
        points=TrainingConfig(
            steps=60, heads_per_step=2, points_per_head=512, learning_rate=1e-2, warmup_steps=2, sheets=1
        ),
        patches=TrainingConfig(steps=3, heads_per_step=2, points_per_head=128, warmup_steps=2, sheets=1),
        adversarial=TrainingConfig(steps=3, heads_per_step=2, points_per_head=128, warmup_steps=2, sheets=1),
        pictures=PicturePlan(heads=4, views=1, size_px=32),
        patch=PatchConfig(heads_per_step=1, patch_px=8, samples=6),
        critic=CriticConfig(channels=(8, 8), penalty_steps=2),
    ),
)
PRESETS = {"cpu": CPU, "gpu": GPU, "tiny": TINY}


def build_starter(
    assets: Path,
    work: Path,
    out: Path,
    *,
    preset: Preset,
    device: torch.device,
    workers: int,
    log: Log,
    resume: bool = False,
    until: int | None = None,
    seconds: float = float("inf"),
) -> dict[str, float] | None:
    """Make the model; every finished step is read from ``work`` the next time.

    Args:
        assets: Holds ``makehuman`` (CC0) and ``ict_facekit`` (MIT).
        work: For intermediate results and checkpoints.
        out: The model's file.
        preset: How much.
        device: Where the networks are trained.
        workers: Processes that make data.
        log: Hears of every step.
        resume: Go on with a run that was begun.
        until: Stop training at this step, counted through all phases, and make the model of what has been learnt.
        seconds: Of training; if the run is not over then, no model is made yet.

    Returns:
        PSNR in dB and outer-surface error in mm on the held-out heads; None if the run is not over.

    Raises:
        SettingsError: There is a run already and it was not asked to go on with it.
        ModelError: Assets are missing or damaged, an intermediate result is damaged, or training diverged.
        OutputError: A result cannot be written.
    """
    shapes = load_heads(assets)
    prepared = prepare(
        shapes, work, samples=preset.shapes, components=preset.components, seed=1, workers=workers, log=log
    )
    heads = training_heads(shapes, prepared.canonical, work, preset=preset, workers=workers, log=log)
    held_out, trained_on = heads[: preset.held_out], heads[preset.held_out :]
    generator = new_generator(prepared, trained_on, preset.generator, preset.training.points.seed)
    lessons = _lessons(generator, prepared.canonical, trained_on, work, preset=preset, workers=workers, log=log)
    is_over = train(
        generator.to(device),
        lessons,
        preset.training,
        work / _run_name(prepared.canonical, preset),
        resume=resume,
        log=log,
        until=until,
        seconds=seconds,
        show=lambda trainer: show_progress(
            trainer, held_out[:SHEET_HEADS], prepared.canonical, size_px=preset.picture_px
        ),
    )
    if until is None and not is_over:
        log("stopped before the end; start again with --resume")
        return None
    scores = _measure(generator.cpu().eval(), held_out, prepared, preset, log)
    template = calibrated_template(shapes, prepared, work, portraits=preset.portraits, log=log)
    population = _population(shapes, prepared, template, heads[: preset.population])
    directions = build_directions(template, generator, population)
    candidates = torch.from_numpy(_candidates(trained_on, preset.candidates_per_style))
    save_starter(out, Starter(generator, template, directions, candidates, IDENTITY))
    log(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")
    return scores


def _lessons(
    generator: StarterGenerator,
    canonical: CanonicalSet,
    heads: list[TrainingHead],
    work: Path,
    *,
    preset: Preset,
    workers: int,
    log: Log,
) -> Lessons:
    """Training heads, and pictures of them when a phase asks."""
    body = copy.deepcopy(generator)  # Stays on the CPU.

    def pictures() -> list[list[TruePicture]]:
        plan, name = preset.training.pictures, heads_name(canonical, preset)
        log(f"pictures of {plan.heads} heads")
        return true_pictures(body, canonical, heads, work, plan=plan, heads_name=name, workers=workers)

    return Lessons(heads, canonical, pictures)


def _measure(
    generator: StarterGenerator, held_out: list[TrainingHead], prepared: Prepared, preset: Preset, log: Log
) -> dict[str, float]:
    """How well held-out heads are told, by their points and by pictures of some of them."""
    pictured, canonical = held_out[:MEASURED_PICTURES], prepared.canonical
    scores = measure(generator, held_out, canonical)
    scores |= measure_pictures(generator, pictured, canonical, size_px=preset.picture_px)[0]
    log(f"held-out heads: {json.dumps(scores)}")
    return scores


def _candidates(heads: list[TrainingHead], per_style: int) -> Float[np.ndarray, "k z_dim"]:
    """An ordinary head, then some of every hair style."""
    rows = [np.median([head.z for head in heads], axis=0)]
    for style in range(BALD + 1):
        rows += [head.z for head in heads if head.dressing.style == style][:per_style]
    return np.stack(rows).astype(np.float32)


def _run_name(canonical: CanonicalSet, preset: Preset) -> str:
    """Folder of a run: another network, other heads or another batch are another run, more steps are not."""
    given = (preset.generator, heads_name(canonical, preset), replace(preset.training.points, steps=0))
    return folder_name("run", modules=(), numbers=given)


def heads_name(canonical: CanonicalSet, preset: Preset) -> str:
    """File name of the training heads over a canonical set."""
    given = (canonical.body_points.tobytes(), canonical.hair.tobytes(), preset.held_out + preset.heads)
    return kept_name("heads", modules=HEAD_SOURCES, numbers=given)


def training_heads(
    shapes: HeadShapes, canonical: CanonicalSet, work: Path, *, preset: Preset, workers: int, log: Log
) -> list[TrainingHead]:
    """The held-out heads and then those to train on; each has its own seed, whatever the number of processes."""

    def make() -> list[TrainingHead]:
        numbers = range(preset.held_out + preset.heads)
        given = (shapes, canonical)
        heads = []
        for head in in_parallel(_one_head, numbers, workers=workers, prepare=_keep_painter, given=given, chunk=50):
            heads.append(head)
            if len(heads) % 1000 == 0:
                log(f"{len(heads)} training heads")
        return heads

    return kept(work / heads_name(canonical, preset), make)


_painter: list[tuple[HeadShapes, Painter]] = []  # Of this process.


def _keep_painter(shapes: HeadShapes, canonical: CanonicalSet) -> None:
    _painter[:] = [(shapes, Painter(canonical))]


def _one_head(number: int) -> TrainingHead:
    shapes, painter = _painter[0]
    rng = np.random.default_rng([HEAD_SEED, number])
    return painter.sample(rng, shapes.sample(rng))


def _population(shapes: HeadShapes, prepared: Prepared, template: Template, heads: list[TrainingHead]) -> Population:
    """The first training heads again, with the identities behind them and their shape codes."""
    identities = [shapes.sample(np.random.default_rng([HEAD_SEED, number])) for number in range(len(heads))]
    vertices = (prepared.anchors.read(shapes.makehuman, shapes.build(identity)) for identity in identities)
    return Population(identities, np.stack([shape_code(template, each) for each in vertices]), heads)
