# SPDX-License-Identifier: Apache-2.0
"""From assets and a trained starter to the starter encoder's file."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from backend.errors import SettingsError
from backend.output import make_folder
from backend.progress import Log
from backend.starter import Starter, load_starter
from backend.starter_encoder import save_encoder
from backend.training.build import CPU as STARTER_CPU
from backend.training.encoder import EncoderTrainer, EncoderTraining, encoder_config, measure
from backend.training.encoder_examples import ExampleMaker
from backend.training.encoder_supply import ShardSchedule, Supply, rendering
from backend.training.kept import content_mark, folder_name
from backend.training.portrait_shards import PortraitPlan
from backend.training.portrait_source import PortraitSource, open_source
from backend.training.run import check_asked_to_resume

PORTRAIT_PX = 144  # Rendered; the encoder's crop shows about as much at 128.
PEOPLE_PER_SHARD = 16
PORTRAIT_SEED = 101  # People that the starter was not trained on.
GLASSES_SHARE = 0.15
# Files of this package that decide what a portrait shows of a template.
PORTRAIT_SOURCES = (
    "appearance", "backdrop", "body_piece", "canonical", "cloth_piece", "dressing", "expressions", "eyes", "face_hair",
    "framing", "glasses", "hair", "hair_piece", "heads", "ict", "light", "makehuman", "masks", "mesh_colors", "motion",
    "mouth", "mouth_piece", "noise", "paint", "pieces", "portrait_shards", "portrait_source", "portrait_truth",
    "portraits", "render", "skin", "skin_points", "skin_relief", "subject", "tops",
)  # fmt: skip


@dataclass(frozen=True)
class EncoderPreset:
    """How much of everything.

    Args:
        people: Rendered, those held out included.
        views: Portraits of each.
        held_out_shards: Of the people, the first ones.
        first_shards: Rendered before training starts.
        size_px: Side of the encoder's picture.
        training: The network's run.
    """

    people: int
    views: int
    held_out_shards: int
    first_shards: int
    size_px: int
    training: EncoderTraining


CPU = EncoderPreset(
    people=640,
    views=6,
    held_out_shards=2,
    first_shards=4,
    size_px=128,
    training=EncoderTraining(steps=1700, portraits_per_step=32, fields_per_step=4),
)
GPU = EncoderPreset(
    people=12000,
    views=6,
    held_out_shards=6,
    first_shards=12,
    size_px=128,
    training=EncoderTraining(steps=12000, portraits_per_step=128, fields_per_step=32, measure_portraits=384),
)
# For tests of the whole way; what it makes is of no use.
TINY = EncoderPreset(
    people=48,
    views=2,
    held_out_shards=1,
    first_shards=1,
    size_px=64,
    training=EncoderTraining(steps=6, portraits_per_step=4, fields_per_step=2, log_steps=2, measure_portraits=4),
)
PRESETS = {"cpu": CPU, "gpu": GPU, "tiny": TINY}


def build_encoder(
    assets: Path,
    work: Path,
    out: Path,
    *,
    starter_file: Path,
    preset: EncoderPreset,
    device: torch.device,
    workers: tuple[int, int],
    resume: bool,
    log: Log,
) -> dict[str, float]:
    """Render portraits, train and write the encoder.

    Args:
        assets: Holds ``makehuman`` (CC0) and ``ict_facekit`` (MIT).
        work: For intermediate results, portraits and checkpoints.
        out: The encoder's file.
        starter_file: The model that is encoded for.
        preset: How much.
        device: Where the network is trained.
        workers: Processes that render, and that prepare pictures.
        resume: Go on with a run that was begun.
        log: Hears of every step.

    Returns:
        Measures on held-out people; see ``encoder.measure``.

    Raises:
        SettingsError: There is a run already and it was not asked to go on with it, or too few people or workers.
        ModelError: Assets, starter, portraits or a checkpoint are missing, damaged or do not go together; or training
            diverged.
        OutputError: Something cannot be written.
    """
    if workers[0] < 1 or workers[1] < 0:
        raise SettingsError("Rendering needs at least 1 process.")
    plan = PortraitPlan(preset.people, preset.views, PORTRAIT_PX, PORTRAIT_SEED, GLASSES_SHARE, PEOPLE_PER_SHARD)
    schedule = ShardSchedule(preset.held_out_shards, preset.first_shards, len(plan.shards), preset.training.steps)
    starter = load_starter(starter_file)
    sizes = encoder_config(starter, preset.size_px)
    source = open_source(assets, work, preset=STARTER_CPU, log=log)
    portraits = work / portraits_name(source)
    folder = work / run_name(starter, portraits.name, preset.size_px)
    check_asked_to_resume(folder, resume)
    for each in (folder, portraits):
        make_folder(each)
    starter.generator.to(device)
    maker = ExampleMaker(starter.template, portraits, plan, preset.size_px, preset.training.seed)
    with rendering(source, maker, workers[0]) as is_rendering:
        supply = Supply(
            maker, schedule, count=preset.training.portraits_per_step, workers=workers[1], is_rendering=is_rendering
        )
        trainer = EncoderTrainer(starter, supply, config=preset.training, folder=folder, sizes=sizes)
        trainer.resume()
        log(f"training from step {trainer.step} to {preset.training.steps}")
        trainer.train(log)
        encoder = trainer.trained()
        scores = measure(encoder, starter, trainer.known, supply.held_out(preset.training.measure_portraits))
    log(f"held-out people: {json.dumps(scores)}")
    save_encoder(out, encoder.cpu(), generator_id=starter.identity["id"])
    log(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")
    return scores


def portraits_name(source: PortraitSource) -> str:
    """Folder of portraits: of another template, or drawn by other code, they are others."""
    return folder_name("encoder-portraits", modules=PORTRAIT_SOURCES, numbers=content_mark(source.studio.template))


def run_name(starter: Starter, portraits: str, size_px: int) -> str:
    """Folder of a run: for another starter, or on other portraits, it is another run.

    Args:
        starter: Encoded for, on the CPU.
        portraits: Their folder's name.
        size_px: Side of the encoder's picture.
    """
    weights = [content_mark(value.numpy()) for value in starter.generator.state_dict().values()]
    template = replace(starter.template, landmark_errors=None)  # These are learnt from an encoder's portraits, later.
    given = (weights, content_mark(template), content_mark(starter.candidates.numpy()), portraits)
    return folder_name(f"encoder-{size_px}px", modules=(), numbers=given)
