# SPDX-License-Identifier: Apache-2.0
"""From a trained starter to the geometry-aware encoder's file, and how well it tells heads that it never saw."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from backend.e3dge import GeometryEncoder, save_e3dge
from backend.errors import SettingsError
from backend.progress import Log
from backend.starter import Starter, load_starter
from backend.starter_encoder import CodeEncoder, load_encoder
from backend.training.e3dge import DetailTrainer, DetailTraining, GlobalTrainer, GlobalTraining
from backend.training.e3dge_head import ShapeSpace
from backend.training.e3dge_pairs import make_pairs
from backend.training.e3dge_report import measure_codes, measure_detail
from backend.training.e3dge_samples import Sample, SamplePlan, make_samples
from backend.training.encoder import encoder_config
from backend.training.run import Run, check_asked_to_resume

GLOBAL, DETAIL, SAMPLES, PAIRS = "global", "detail", "samples", "pairs"


@dataclass(frozen=True)
class E3dgePreset:
    """How much of everything.

    Args:
        samples: Heads of the starter, those held out included.
        held_out: Of them, the first ones, never trained on.
        pairs: Of them, the first ones again, that are reconstructed for the local stage.
        size_px: Side of the encoder's picture.
        codes: Run of the global stage.
        detail: Run of the local stage.
    """

    samples: SamplePlan
    held_out: int
    pairs: int
    size_px: int
    codes: GlobalTraining
    detail: DetailTraining


SEED = 211
CPU = E3dgePreset(
    samples=SamplePlan(heads=160, views=3, size_px=96, seed=SEED),
    held_out=16,
    pairs=160,
    size_px=128,
    codes=GlobalTraining(steps=900),
    detail=DetailTraining(steps=900),
)
GPU = E3dgePreset(
    samples=SamplePlan(heads=4000, views=4, size_px=96, seed=SEED),
    held_out=100,
    pairs=4000,
    size_px=128,
    codes=GlobalTraining(steps=8000, views_per_step=64, fields_per_step=16, average_half_steps=150.0),
    detail=DetailTraining(steps=8000, pairs_per_step=16, average_half_steps=150.0),
)
# For tests of the whole way; what it makes is of no use.
TINY = E3dgePreset(
    samples=SamplePlan(heads=4, views=2, size_px=32, seed=SEED),
    held_out=1,
    pairs=4,
    size_px=32,
    codes=GlobalTraining(steps=2, views_per_step=2, fields_per_step=1, log_steps=1),
    detail=DetailTraining(steps=2, pairs_per_step=2, novel_points=64, log_steps=1),
)
PRESETS = {"cpu": CPU, "gpu": GPU, "tiny": TINY}


def build_e3dge(
    work: Path,
    out: Path,
    *,
    starter_file: Path,
    first_file: Path | None,
    preset: E3dgePreset,
    device: torch.device,
    resume: bool,
    log: Log,
) -> dict[str, float]:
    """Make samples, train both stages and write the encoder.

    Args:
        work: For samples, pairs and checkpoints.
        out: The encoder's file.
        starter_file: The model that teaches.
        first_file: A starter encoder whose weights the global stage begins with; None for random ones.
        preset: How much.
        device: Where the networks are trained.
        resume: Go on with a run that was begun.
        log: Hears of every step.

    Returns:
        Measures on held-out heads.

    Raises:
        SettingsError: There is a run already and it was not asked to go on with it, or ``first_file`` has other sizes.
        ModelError: A model, a sample or a checkpoint is missing, damaged or of another version; or training diverged.
        OutputError: Something cannot be written.
    """
    for stage in (GLOBAL, DETAIL):
        check_asked_to_resume(work / stage, resume)
    starter = load_starter(starter_file)
    starter.generator.to(device)
    space = ShapeSpace(starter.template, starter.generator.config.side, device)
    samples = make_samples(starter, space, preset.samples, work / SAMPLES)
    log(f"{len(samples)} heads with {preset.samples.views} views each")
    held_out, taught = samples[: preset.held_out], samples[preset.held_out :]
    codes = _train_codes(starter, space, taught, preset, first_file=first_file, folder=work / GLOBAL, log=log)
    scores = measure_codes(starter, space, codes, held_out)
    log(f"held-out heads, codes and geometry: {json.dumps(scores)}")
    torch.manual_seed(preset.detail.seed)  # The local stage begins the same, whether or not the other one ran before.
    encoder = GeometryEncoder(codes.config, plane_px=starter.generator.config.plane_resolution).to(device)
    encoder.codes.load_state_dict(codes.state_dict())
    pairs = make_pairs(starter, space, codes, samples[: preset.pairs], seed=preset.samples.seed, folder=work / PAIRS)
    log(f"{len(pairs)} first reconstructions")
    detail = DetailTrainer(
        starter, pairs[preset.held_out :], config=preset.detail, folder=work / DETAIL, branch=encoder.detail
    )
    _train(detail, log)
    encoder.detail = detail.trained()
    scores |= measure_detail(starter, encoder.detail, pairs[: preset.held_out])
    log(f"held-out heads: {json.dumps(scores)}")
    save_e3dge(out, encoder.cpu(), generator_id=starter.identity["id"])
    log(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")
    return scores


def _train_codes(
    starter: Starter,
    space: ShapeSpace,
    samples: list[Sample],
    preset: E3dgePreset,
    *,
    first_file: Path | None,
    folder: Path,
    log: Log,
) -> CodeEncoder:
    """The trained global stage."""
    sizes = encoder_config(starter, preset.size_px)
    first = None if first_file is None else load_encoder(first_file)[0]
    if first is not None and first.config != sizes:
        raise SettingsError(f"{first_file} is an encoder of other sizes than this starter and preset ask for.")
    trainer = GlobalTrainer(starter, space, samples, config=preset.codes, folder=folder, sizes=sizes, first=first)
    _train(trainer, log)
    return trainer.trained()


def _train(run: Run, log: Log) -> None:
    run.resume()
    name = run.folder.name
    log(f"{name}: from step {run.step}")
    run.run(say=lambda losses: log(f"{name} step {run.step}: {_text(losses)}"))


def _text(losses: dict[str, float]) -> str:
    shown = (
        "shape_mm",
        "expression_mm",
        "z",
        "surface_mm",
        "normal",
        "color",
        "seen_before",
        "seen",
        "novel_before",
        "novel",
    )
    return ", ".join(f"{name} {losses[name]:.3f}" for name in shown if name in losses)
