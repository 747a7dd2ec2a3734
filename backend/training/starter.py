# SPDX-License-Identifier: Apache-2.0
"""Trains the starter generator's networks on coloured points (phase A), resumable to the same result."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.errors import ModelError
from backend.generator.starter import StarterGenerator
from backend.training.canonical import CanonicalSet
from backend.training.dataset import TrainingHead
from backend.training.dressing import CLAMP_M, DressingShapes
from backend.training.kept import write_whole

SPACE_SHARE = 0.3  # Of each head's points, for the outer surface alone.
NEAR_SHARE, NEAR_M = 0.7, 0.008  # Of those: drawn around the coloured points, standard deviation.
# Colours count as they are and squared: the latter is what PSNR measures.
SQUARED_WEIGHT = 1.0
OUTER_WEIGHT = 1.0
OUTER_SOFT_M = 0.002
EMA_HALF_STEPS = 150.0
PALETTE_SHARE, MAPPING_SHARE = 0.02, 0.2  # Of the learning rate.
LOG_STEPS = 25
LOWEST_RATE = 1 / 30


@dataclass(frozen=True)
class TrainingConfig:
    """One run.

    Args:
        steps: Optimiser steps.
        heads_per_step: Batch size.
        points_per_head: Points of each head in a step.
        learning_rate: Highest rate of Adam.
        warmup_steps: Linear rise to it.
        decay_from: Share of the run after which the rate falls to ``LOWEST_RATE`` of it.
        checkpoint_s: Seconds between checkpoints.
        sheets: Sample sheets over the run.
        seed: Of weights and batches.
    """

    steps: int
    heads_per_step: int = 8
    points_per_head: int = 6144
    learning_rate: float = 2.5e-3
    warmup_steps: int = 50
    decay_from: float = 0.45
    checkpoint_s: float = 120.0
    sheets: int = 6
    seed: int = 0


def _parameter_groups(generator: StarterGenerator) -> list[dict[str, object]]:
    """What all heads share so directly that a full step there would repaint every one of them moves slowly."""
    slow = {id(parameter): PALETTE_SHARE for parameter in generator.palette.parameters()}
    slow |= {id(parameter): MAPPING_SHARE for parameter in generator.mapping.parameters()}
    groups: dict[float, list[Tensor]] = {}
    for parameter in generator.parameters():
        groups.setdefault(slow.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]


class Trainer:
    """The state of a run: networks, their average, optimiser, step and random state.

    Args:
        generator: Trained in place, on the device where it is.
        heads: Training heads.
        canonical: Lattices of hair and tops.
        config: The run.
        folder: For ``checkpoint.pt`` and ``log.jsonl``.
    """

    def __init__(
        self,
        generator: StarterGenerator,
        heads: Sequence[TrainingHead],
        canonical: CanonicalSet,
        *,
        config: TrainingConfig,
        folder: Path,
    ) -> None:
        self.generator, self.config, self.folder = generator, config, folder
        self.device = next(generator.parameters()).device
        self.z = torch.from_numpy(np.stack([head.z for head in heads])).to(self.device)
        self.points = torch.from_numpy(np.stack([head.points for head in heads])).to(self.device)
        self.colors = torch.from_numpy(np.stack([head.colors for head in heads])).to(self.device)
        self.dressings = [head.dressing for head in heads]
        self.shapes = DressingShapes(canonical, self.device)
        self.average = {name: value.detach().clone() for name, value in generator.state_dict().items()}
        self.optimizer = torch.optim.Adam(_parameter_groups(generator), lr=config.learning_rate, betas=(0.9, 0.99))
        # Chance is drawn on the CPU, the same for every device.
        self.random = torch.Generator().manual_seed(config.seed)
        self.step = 0

    def run(
        self, *, until: int | None = None, seconds: float = float("inf"), show: Callable[[], None] | None = None
    ) -> None:
        """Train to the last step, with checkpoints.

        Args:
            until: Stop at this step already.
            seconds: Stop after this time already, with a checkpoint.
            show: Called ``config.sheets`` times over the run.

        Raises:
            ModelError: The loss is no longer a number; the last checkpoint stays.
            OutputError: The checkpoint cannot be written; the one before stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        started = saved = time.monotonic()
        between_sheets = max(1, self.config.steps // max(1, self.config.sheets))
        last = self.config.steps if until is None else min(until, self.config.steps)
        if self.step < last:
            self._drop_later_lines()
        while self.step < last:
            losses = self._one_step()
            if not np.isfinite(sum(losses.values())):
                raise ModelError(
                    f"Training diverged at step {self.step}. The last checkpoint is kept; resume with a lower rate.",
                    code="training_diverged",
                )
            self.step += 1
            if self.step % LOG_STEPS == 0:
                self._log(losses)
            is_over = time.monotonic() - started > seconds
            if time.monotonic() - saved > self.config.checkpoint_s or self.step == last or is_over:
                self.save()
                saved = time.monotonic()
            if show and self.step % between_sheets == 0:
                show()
            if is_over:
                return

    def _one_step(self) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate() * group["share"]
        chosen = torch.randperm(len(self.z), generator=self.random)[: self.config.heads_per_step]
        points, colors = self._batch(chosen)
        target = self.shapes.outer([self.dressings[i] for i in chosen], points)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            planes = self.generator.planes(self.generator.map(self.z[chosen]))
        outer, color = self.generator.decode(planes, points)
        error = color[:, : colors.shape[1]] - colors
        color_loss = error.abs().mean() + SQUARED_WEIGHT * error.square().mean()
        outer_loss = functional.smooth_l1_loss(outer.clamp(-CLAMP_M, CLAMP_M), target, beta=OUTER_SOFT_M) * 100
        loss = color_loss + OUTER_WEIGHT * outer_loss
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.generator.parameters(), 5.0)
        if torch.isfinite(loss):
            self.optimizer.step()
            self._follow()
        return {"color": color_loss.item(), "outer": outer_loss.item()}

    def _batch(self, chosen: Tensor) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b m 3"]]:
        """Points, the coloured ones first, and their colours."""
        count = self.config.points_per_head
        space = int(count * SPACE_SHARE)
        near = int(space * NEAR_SHARE)
        index = torch.randint(0, self.points.shape[1], (len(chosen), count - space), generator=self.random)
        at = self.points[chosen[:, None], index].float()
        colors = self.colors[chosen[:, None], index].float() / 255
        anywhere = (
            torch.rand((len(chosen), space - near, 3), generator=self.random) - 0.5
        ) * self.generator.config.side
        beside = NEAR_M * torch.randn((len(chosen), near, 3), generator=self.random)
        around = at[:, torch.randint(0, at.shape[1], (near,), generator=self.random)] + beside.to(self.device)
        return torch.cat([at, around, anywhere.to(self.device)], dim=1), colors

    def _rate(self) -> float:
        done = self.step / self.config.steps
        fall = max(0.0, (done - self.config.decay_from) / (1 - self.config.decay_from))
        return self.config.learning_rate * min(1.0, (self.step + 1) / self.config.warmup_steps) * LOWEST_RATE**fall

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights, faster at the start."""
        keep = min(0.5 ** (1 / EMA_HALF_STEPS), self.step / (self.step + 10))
        for name, value in self.generator.state_dict().items():
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
            "generator": self.generator.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
        }
        write_whole(self.folder / "checkpoint.pt", lambda partial: torch.save(state, partial))

    def resume(self) -> None:
        """Take up the run in ``folder``, if there is one.

        Raises:
            ModelError: Its checkpoint is damaged or of another version.
        """
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return
        try:
            state = torch.load(file, weights_only=True, map_location=self.device)
            self.generator.load_state_dict(state["generator"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.random.set_state(state["random"].cpu())
            self.average, self.step = state["average"], state["step"]
        except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
            raise ModelError(
                f"The checkpoint {file} is damaged, or of another version; delete it to start afresh.",
                code="checkpoint_damaged",
            ) from error

    def _drop_later_lines(self) -> None:
        """What was logged after the checkpoint will be logged again."""
        file = self.folder / "log.jsonl"
        if file.exists():
            lines = [line for line in file.read_text().splitlines() if json.loads(line)["step"] <= self.step]
            write_whole(file, lambda partial: partial.write_text("".join(f"{line}\n" for line in lines)))


@torch.no_grad()
def measure(generator: StarterGenerator, heads: Sequence[TrainingHead], canonical: CanonicalSet) -> dict[str, float]:
    """How well described heads are told: colour PSNR over visible points in dB, outer surface error in mm.

    Args:
        generator: In evaluation mode.
        heads: Not trained on.
        canonical: Lattices of hair and tops.
    """
    device = next(generator.parameters()).device
    shapes = DressingShapes(canonical, device)
    squared, distance = [], []
    for head in heads:
        points = torch.from_numpy(head.points).to(device).float()[None]
        target = shapes.outer([head.dressing], points)
        planes = generator.planes(generator.map(torch.from_numpy(head.z).to(device)[None]))
        outer, color = generator.decode(planes, points)
        truth = torch.from_numpy(head.colors).to(device).float() / 255
        squared.append(float((color[0] - truth).square().mean()))
        distance.append(float((outer.clamp(-CLAMP_M, CLAMP_M) - target).abs().mean()))
    return {
        "psnr_db": round(float(-10 * np.log10(np.mean(squared))), 2),
        "outer_mm": round(1000 * float(np.mean(distance)), 3),
    }
