# SPDX-License-Identifier: Apache-2.0
"""Trains the starter's encoder on synthetic portraits that are rendered meanwhile; resumable to the same result."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.crop_camera import rotations
from backend.errors import ModelError
from backend.output import output_error
from backend.plane_lift import PlaneLift
from backend.starter import Starter
from backend.starter_encoder import EncoderConfig, Encoding, StarterEncoder
from backend.training.encoder_losses import Measures, code_losses, field_losses, length, measures, total
from backend.training.encoder_supply import Supply

COLOR_POINTS, COLOR_HEADS = 2000, 4
LEAST_SPREAD = {"z": 0.25, "shape": 0.3, "expression": 0.05, "pose": 0.03, "camera": 0.02, "light": 0.05}
COLORS = ("clean", "photo", "other_clean", "other_photo")
OFFSET_SCALE = 4  # Planes' pixels per pixel of the offset, as in refinement.


@dataclass(frozen=True)
class EncoderTraining:
    """One run.

    Args:
        steps: Optimiser steps.
        portraits_per_step: Batch size.
        fields_per_step: Heads of the batch whose planes are made.
        learning_rate: Highest rate of Adam.
        warmup_steps: Linear rise to it.
        decay_from: Share of the run after which the rate falls to a thirtieth.
        average_half_steps: Half life of the average of the weights.
        checkpoint_s: Seconds between checkpoints.
        log_steps: Steps between lines of the log.
        measure_portraits: Held-out portraits.
        seed: Of weights and batches.
    """

    steps: int
    portraits_per_step: int = 32
    fields_per_step: int = 3
    learning_rate: float = 1e-3
    warmup_steps: int = 60
    decay_from: float = 0.4
    average_half_steps: float = 80.0
    checkpoint_s: float = 120.0
    log_steps: int = 20
    measure_portraits: int = 96
    seed: int = 0


class EncoderTrainer:
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
        self.starter, self.supply, self.config, self.folder = starter, supply, config, folder
        self.device = starter.generator.mean_planes.device
        torch.manual_seed(config.seed)
        self.encoder = StarterEncoder(sizes).to(self.device)
        first = supply.first()
        center, spread = statistics(first, self.encoder)
        self.encoder.standardise(center, spread)
        self.spread = {name: value.to(self.device) for name, value in spread.items()}
        self.known = _measures(starter, first, self.device)
        self.average = {name: value.detach().clone() for name, value in self.encoder.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.step = 0

    def run(self, log: Callable[[str], None]) -> None:
        """Train to the last step, with checkpoints.

        Raises:
            ModelError: The loss is no longer a number; the last checkpoint stays.
            OutputError: A checkpoint cannot be written.
        """
        saved = time.monotonic()
        for batch in self.supply.batches(range(self.step, self.config.steps)):
            losses = self.one_step(batch)
            self.step += 1
            if self.step % self.config.log_steps == 0 or self.step == self.config.steps:
                self._log(losses)
                log(f"step {self.step} of {self.config.steps}: {_text(losses)}")
            if time.monotonic() - saved > self.config.checkpoint_s or self.step == self.config.steps:
                self.save()
                saved = time.monotonic()

    def one_step(self, batch: dict[str, np.ndarray]) -> dict[str, float]:
        """One step on a batch; weights stay as they are when the loss is no number."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.encoder.train()
        truth = to_tensors(batch, self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            encoding = self.encoder(truth["picture"], truth["landmarks"])
        losses = self._losses(encoding, truth)
        loss = total(losses)
        if not torch.isfinite(loss):
            raise ModelError(
                f"Training diverged at step {self.step}. The last checkpoint is kept; resume with a lower rate.",
                code="training_diverged",
            )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 2.0)
        self.optimizer.step()
        self._follow()
        return {name: value.item() for name, value in losses.items()}

    def _losses(self, encoding: Encoding, truth: dict[str, Tensor]) -> dict[str, Tensor]:
        generator = self.starter.generator
        heads = encoding.means["z"][: self.config.fields_per_step]
        losses = code_losses(encoding, truth, self.known, generator, self.spread)
        return losses | field_losses(generator, self.encoder.lift, heads, truth)

    def trained(self) -> StarterEncoder:
        """The average of the weights, in evaluation mode."""
        encoder = StarterEncoder(self.encoder.config).to(self.device)
        encoder.load_state_dict(self.average)
        return encoder.eval().requires_grad_(False)

    def _rate(self) -> float:
        done = self.step / self.config.steps
        fall = max(0.0, (done - self.config.decay_from) / (1 - self.config.decay_from))
        return self.config.learning_rate * min(1.0, (self.step + 1) / self.config.warmup_steps) * 30.0**-fall

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights, faster at the start."""
        keep = min(0.5 ** (1 / self.config.average_half_steps), self.step / (self.step + 10))
        for name, value in self.encoder.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)

    def _log(self, losses: dict[str, float]) -> None:
        line = {"step": self.step, "time": round(time.time()), "rate": self._rate(), **losses}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the checkpoint; a crash while writing leaves the one before.

        Raises:
            OutputError: It cannot be written.
        """
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "encoder": self.encoder.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        partial, file = self.folder / "checkpoint.partial", self.folder / "checkpoint.pt"
        try:
            torch.save(state, partial)
            partial.replace(file)
        except (OSError, RuntimeError) as error:  # torch tells of a full disk with a RuntimeError.
            partial.unlink(missing_ok=True)
            raise output_error(file, error if isinstance(error, OSError) else OSError(str(error))) from error

    def resume(self) -> None:
        """Take up the run in ``folder``, if there is one.

        Raises:
            ModelError: Its checkpoint is damaged, of another version or of a run with other settings.
        """
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return
        try:
            state = torch.load(file, weights_only=True, map_location=self.device)
            if state["config"] != asdict(self.config):
                raise ValueError("other settings")
            self.encoder.load_state_dict(state["encoder"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average, self.step = state["average"], state["step"]
        except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
            raise ModelError(
                f"The checkpoint {file} is damaged, or of a run with other settings; delete it to start afresh.",
                code="checkpoint_damaged",
            ) from error


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


def statistics(batch: dict[str, np.ndarray], encoder: StarterEncoder) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
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
    spread = {name: value.std(0).clamp(min=LEAST_SPREAD[name]) for name, value in numbers.items()}
    return center, spread


def _measures(starter: Starter, batch: dict[str, np.ndarray], device: torch.device) -> Measures:
    points = torch.from_numpy(batch["points"].reshape(-1, 3)[:: max(1, batch["points"].size // 3 // COLOR_POINTS)])
    known = measures(starter.template, starter.generator, starter.candidates.cpu(), points.to(device), COLOR_HEADS)
    return Measures(**{name: value.to(device) for name, value in vars(known).items()})


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
