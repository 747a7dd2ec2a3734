# SPDX-License-Identifier: Apache-2.0
"""Trains the starter's encoder on synthetic portraits that are rendered meanwhile; resumable to the same result."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.crop_camera import rotations
from backend.errors import ModelError
from backend.plane_lift import OFFSET_SCALE, PlaneLift
from backend.progress import Log
from backend.starter import Starter
from backend.starter_encoder import CodeEncoder, EncoderConfig, Encoding, StarterEncoder
from backend.training.encoder_losses import Measures, code_losses, field_losses, length, measures, total
from backend.training.encoder_run import EncoderRun
from backend.training.encoder_supply import Supply
from backend.training.run import RunConfig

COLOR_POINTS, COLOR_HEADS = 2000, 4
LEAST_SPREAD = {"z": 0.25, "shape": 0.3, "expression": 0.05, "pose": 0.03, "camera": 0.02, "light": 0.05}
COLORS = ("clean", "photo", "other_clean", "other_photo")


@dataclass(frozen=True)
class EncoderTraining(RunConfig):
    """One run.

    Args:
        portraits_per_step: Batch size.
        fields_per_step: Heads of the batch whose planes are made.
        measure_portraits: Held-out portraits.
    """

    learning_rate: float = 1e-3
    warmup_steps: int = 60
    decay_from: float = 0.4
    average_half_steps: float = 80.0
    log_steps: int = 20
    portraits_per_step: int = 32
    fields_per_step: int = 3
    measure_portraits: int = 96


class EncoderTrainer(EncoderRun[StarterEncoder]):
    """The state of a run.

    Args:
        starter: The model whose codes are told; its weights stay.
        supply: Batches.
        config: The run.
        folder: For ``checkpoint.pt`` and ``log.jsonl``.
        sizes: Of the encoder.
    """

    def __init__(
        self, starter: Starter, supply: Supply, *, config: EncoderTraining, folder: Path, sizes: EncoderConfig
    ) -> None:
        self.starter, self.supply, self.config = starter, supply, config
        self.device = starter.generator.mean_planes.device
        torch.manual_seed(config.seed)
        self.encoder = StarterEncoder(sizes).to(self.device)
        first = supply.first()
        center, spread = statistics(first, self.encoder)
        self.encoder.standardise(center, spread)
        self.spread = {name: value.to(self.device) for name, value in spread.items()}
        self.known = _measures(starter, first, self.device)
        super().__init__(self.encoder, "encoder", config=config, folder=folder)
        self._batches: Iterator[dict[str, np.ndarray]] | None = None

    def train(self, log: Log) -> None:
        """Train to the last step, with checkpoints.

        Raises:
            ModelError: The loss is no longer a number; the last checkpoint stays.
            OutputError: A checkpoint cannot be written.
        """
        self.run(say=lambda losses: log(f"step {self.step} of {self.config.steps}: {_text(losses)}"))

    def next_step(self) -> dict[str, float]:
        """One step on the supply's next batch."""
        if self._batches is None:
            self._batches = iter(self.supply.batches(range(self.step, self.config.steps)))
        return self.one_step(next(self._batches))

    def one_step(self, batch: dict[str, np.ndarray]) -> dict[str, float]:
        """One step on a batch; weights stay as they are when the loss is no number."""
        self.encoder.train()
        truth = to_tensors(batch, self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            encoding = self.encoder(truth["picture"], truth["landmarks"])
        losses = self._losses(encoding, truth)
        self.descend(total(losses))
        return {name: value.item() for name, value in losses.items()}

    def _losses(self, encoding: Encoding, truth: dict[str, Tensor]) -> dict[str, Tensor]:
        generator = self.starter.generator
        heads = encoding.means["z"][: self.config.fields_per_step]
        losses = code_losses(encoding, truth, known=self.known, generator=generator, spread=self.spread)
        return losses | field_losses(generator, self.encoder.lift, heads, truth)


def encoder_config(starter: Starter, size_px: int) -> EncoderConfig:
    """The sizes that a starter asks for."""
    config, template = starter.generator.config, starter.template
    return EncoderConfig(
        z_dim=config.z_dim,
        shapes=len(template.shape),
        expressions=len(template.expression),
        plane_channels=config.plane_channels,
        offset_px=config.plane_resolution // OFFSET_SCALE,
        size_px=size_px,
    )


def statistics(batch: dict[str, np.ndarray], encoder: CodeEncoder) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Average and spread of every number that the encoder tells.

    Raises:
        ModelError: The portraits are described by other numbers than the starter's.
    """
    numbers = {name: torch.from_numpy(batch[name]).float() for name in encoder.config.sizes}
    for name, size in encoder.config.sizes.items():
        if numbers[name].shape[1] != size:
            raise ModelError(
                f"Portraits have {numbers[name].shape[1]} numbers of {name}, the starter has {size}. "
                "Train the starter with this version first.",
                code="other_version",
            )
    center = {name: value.mean(0) for name, value in numbers.items()}
    spread = {
        name: value.std(0, correction=min(1, len(value) - 1)).clamp(min=LEAST_SPREAD[name])
        for name, value in numbers.items()
    }
    return center, spread


def _measures(starter: Starter, batch: dict[str, np.ndarray], device: torch.device) -> Measures:
    points = torch.from_numpy(batch["points"].reshape(-1, 3)[:: max(1, batch["points"].size // 3 // COLOR_POINTS)])
    return measures(starter, points.to(device), heads=COLOR_HEADS)


def to_tensors(batch: dict[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """A batch on the device; colours in [0, 1]."""
    tensors = {name: torch.from_numpy(value).to(device) for name, value in batch.items()}
    return {name: value.float() / 255 if name in COLORS else value.float() for name, value in tensors.items()}


@torch.no_grad()
def measure(
    encoder: StarterEncoder, starter: Starter, known: Measures, batch: dict[str, np.ndarray]
) -> dict[str, float]:
    """How well held-out portraits are told; for shape, expression and colour also the share of the average's error.

    Args:
        encoder: In evaluation mode.
        starter: Its model.
        known: What codes do.
        batch: Held-out examples.
    """
    device = starter.generator.mean_planes.device
    truth = to_tensors(batch, device)
    encoding = encoder(truth["picture"], truth["landmarks"])
    center = encoder.by_name(encoder.center[None])
    result: dict[str, float] = {}
    for name, factor in (("shape", known.shape), ("expression", known.expression), ("z", known.z)):
        off = length(encoding.means[name] - truth[name], factor)
        result[name] = float(off.median())
        result[f"{name}_of_average"] = float(off.mean() / length(center[name] - truth[name], factor).mean())
        inside = (encoding.means[name] - truth[name]).abs() < encoding.deviations[name]
        result[f"{name}_inside"] = float(inside.float().mean())
    turned = rotations(encoding.means["camera"][:, :3]) @ rotations(truth["camera"][:, :3]).transpose(1, 2)
    cosine = ((turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)
    result["turn_deg"] = float(torch.rad2deg(cosine.arccos()).median())
    fields = _measure_fields(encoder.lift, starter, encoding.means["z"], truth)
    return {name: round(value, 4) for name, value in (result | fields).items()}


def _measure_fields(
    lift: PlaneLift, starter: Starter, z: Float[Tensor, "b d"], truth: dict[str, Tensor]
) -> dict[str, float]:
    """Colours at seen points and at those of another portrait, without and with the plane offset."""
    names = ("field", "seen_before", "seen_after", "other_before", "other_after")
    rows = []
    for number in range(len(z)):
        one = {name: value[number : number + 1] for name, value in truth.items()}
        losses = field_losses(starter.generator, lift, z[number : number + 1], one)
        rows.append([float(losses[name]) for name in names])
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def _text(losses: dict[str, float]) -> str:
    shown = ("shape_mm", "expression_mm", "landmarks", "z", "field", "seen_before", "seen_after", "other_after")
    return ", ".join(f"{name} {losses[name]:.3f}" for name in shown)
