# SPDX-License-Identifier: Apache-2.0
"""Trains the starter generator's networks on coloured points (phase A), resumable to the same result."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from backend.errors import ModelError
from backend.generator.starter import StarterConfig, StarterGenerator
from backend.training.canonical import CanonicalSet
from backend.training.dataset import HIDDEN_M, TOP_POINTS, TrainingHead, outer_distance
from backend.training.prepare import DISTANCE_RANGE_M, FACE_HIGH, FACE_LOW, Prepared

JITTER_M = 0.0025
SPACE_SHARE = 0.25  # Of each head's points, for the outer surface alone.
OUTER_WEIGHT = 1.0
EMA_HALF_STEPS = 150.0
PALETTE_SHADES = (0.0, -1.2, 0.7)  # Added to the logits of skin, hair and top.
RIDGE = 1e-3
SLOW_SHARE = 0.02


@dataclass(frozen=True)
class TrainingConfig:
    """One run.

    Args:
        steps: Optimiser steps.
        heads_per_step: Batch size.
        points_per_head: Points of each head in a step.
        learning_rate: Highest rate of Adam.
        warmup_steps: Linear rise to it.
        decay_from: Share of the run after which the rate falls to a thirtieth.
        checkpoint_s: Seconds between checkpoints.
        seed: Of weights and batches.
    """

    steps: int
    heads_per_step: int = 8
    points_per_head: int = 4096
    learning_rate: float = 2.5e-3
    warmup_steps: int = 50
    decay_from: float = 0.45
    checkpoint_s: float = 60.0
    seed: int = 0


def new_generator(prepared: Prepared, heads: Sequence[TrainingHead], seed: int) -> StarterGenerator:
    """A generator over the prepared body that knows the heads' colours already, and nothing else."""
    torch.manual_seed(seed)
    scale = DISTANCE_RANGE_M / 127
    generator = StarterGenerator(
        StarterConfig(z_dim=len(heads[0].z)),
        body=torch.from_numpy(prepared.body_lattice).float() * scale,
        face=torch.from_numpy(prepared.face_lattice).float() * scale,
        face_box=torch.tensor(np.stack([FACE_LOW, FACE_HIGH]), dtype=torch.float32),
    )
    start_palette(generator, heads)
    return generator


@torch.no_grad()
def start_palette(generator: StarterGenerator, heads: Sequence[TrainingHead]) -> None:
    """Set the palette in closed form: skin, hair and top in ``PALETTE_SHADES`` each, the rest grey.

    A ridge regression from the untrained ``w``, a random feature of ``z``, to each head's median colours: learnt by
    descent, the same took thousands of steps.
    """
    w = generator.mapping(torch.from_numpy(np.stack([head.z for head in heads]))).double()
    features = torch.cat([w, torch.ones(len(w), 1)], dim=1)
    medians = torch.from_numpy(np.stack([_median_colors(head) for head in heads]))
    logits = torch.logit(medians.clamp(0.02, 0.98)).reshape(len(w), -1)
    ridge = RIDGE * len(w) * torch.eye(features.shape[1])
    solution = torch.linalg.solve(features.T @ features + ridge, features.T @ logits).T
    rows = torch.zeros(3 * generator.config.parts, features.shape[1], dtype=torch.float64)
    for number, shade in enumerate(PALETTE_SHADES):
        block = rows[9 * number : 9 * number + 9]
        block.copy_(solution)
        block[:, -1] += shade
    generator.palette.load_state_dict({"weight": rows[:, :-1] * math.sqrt(w.shape[1]), "bias": rows[:, -1]})


def _median_colors(head: TrainingHead) -> Float[np.ndarray, "3 3"]:
    """Of skin, hair (of the skin again on a bald head) and top."""
    skin, worn = head.colors[: head.skin_points], head.colors[head.skin_points :]
    hair, top = worn[:-TOP_POINTS], worn[-TOP_POINTS:]
    return np.stack([np.median(part if len(part) else skin, axis=0) for part in (skin, hair, top)]) / 255


def _parameter_groups(generator: StarterGenerator) -> list[dict[str, object]]:
    """What lies before ``w``, and the palette, move slowly: a full step there repaints every head at once."""
    slow = [*generator.mapping.parameters(), *generator.palette.parameters()]
    known = {id(parameter) for parameter in slow}
    others = [parameter for parameter in generator.parameters() if id(parameter) not in known]
    return [{"params": others, "share": 1.0}, {"params": slow, "share": SLOW_SHARE}]


class Trainer:
    """The state of a run: networks, their average, optimiser, step and random state.

    Args:
        generator: Trained in place.
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
        self.z = torch.from_numpy(np.stack([head.z for head in heads]))
        self.points = torch.from_numpy(np.stack([head.points for head in heads]))
        self.colors = torch.from_numpy(np.stack([head.colors for head in heads]))
        self.skin_points = torch.tensor([head.skin_points for head in heads])
        self.dressings = [head.dressing for head in heads]
        self.hair = torch.from_numpy(canonical.hair)
        self.tops = torch.from_numpy(canonical.tops)
        self.average = {name: value.detach().clone() for name, value in generator.state_dict().items()}
        self.optimizer = torch.optim.Adam(_parameter_groups(generator), lr=config.learning_rate, betas=(0.9, 0.99))
        self.random = torch.Generator().manual_seed(config.seed)
        self.step = 0

    def run(self) -> None:
        """Train to the last step, with checkpoints.

        Raises:
            ModelError: The loss is no longer a number; the last checkpoint stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = time.monotonic()
        while self.step < self.config.steps:
            losses = self._one_step()
            if not np.isfinite(sum(losses.values())):
                raise ModelError(
                    f"Training diverged at step {self.step}. The last checkpoint is kept; resume with a lower rate.",
                    code="training_diverged",
                )
            self.step += 1
            if self.step % 25 == 0:
                self._log(losses)
            if time.monotonic() - saved > self.config.checkpoint_s or self.step == self.config.steps:
                self.save()
                saved = time.monotonic()

    def _one_step(self) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate() * group["share"]
        chosen = torch.randperm(len(self.z), generator=self.random)[: self.config.heads_per_step]
        points, colors, worn = self._batch(chosen)
        target = outer_distance([self.dressings[i] for i in chosen], self.hair, self.tops, points)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            planes = self.generator.planes(self.generator.map(self.z[chosen]))
        outer, color = self.generator.decode(planes, points)
        shown = colors.shape[1]
        visible = (worn | (target[:, :shown] > -HIDDEN_M)).float()[..., None]
        color_loss = ((color[:, :shown] - colors).abs() * visible).sum() / (3 * visible.sum())
        outer_loss = functional.smooth_l1_loss(outer.clamp(-0.02, 0.02), target, beta=0.002) * 100
        loss = color_loss + OUTER_WEIGHT * outer_loss
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.generator.parameters(), 5.0)
        self.optimizer.step()
        self._follow()
        return {"color": color_loss.item(), "outer": outer_loss.item()}

    def _batch(self, chosen: Tensor) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b m 3"], Bool[Tensor, "b m"]]:
        """Points, the coloured ones first and moved a little off their surface; colours; whether on hair or top."""
        count = self.config.points_per_head
        space = int(count * SPACE_SHARE)
        index = torch.randint(0, self.points.shape[1], (len(chosen), count - space), generator=self.random)
        at = self.points[chosen[:, None], index]
        colors = self.colors[chosen[:, None], index].float() / 255
        at = at + JITTER_M * torch.randn(at.shape, generator=self.random)
        anywhere = (torch.rand((len(chosen), space, 3), generator=self.random) - 0.5) * self.generator.config.side
        near = at[:, torch.randint(0, at.shape[1], (space // 2,), generator=self.random)]
        anywhere[:, : space // 2] = near + 0.01 * torch.randn(near.shape, generator=self.random)
        return torch.cat([at, anywhere], dim=1), colors, index >= self.skin_points[chosen, None]

    def _rate(self) -> float:
        done = self.step / self.config.steps
        fall = max(0.0, (done - self.config.decay_from) / (1 - self.config.decay_from))
        return self.config.learning_rate * min(1.0, (self.step + 1) / self.config.warmup_steps) * 30.0**-fall

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
        """Write the checkpoint; a crash while writing leaves the one before."""
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "generator": self.generator.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
        }
        partial = self.folder / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Take up the run in ``folder``, if there is one.

        Raises:
            ModelError: Its checkpoint is damaged or of another version.
        """
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return
        try:
            state = torch.load(file, weights_only=True)
            self.generator.load_state_dict(state["generator"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.random.set_state(state["random"])
            self.average, self.step = state["average"], state["step"]
        except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
            raise ModelError(
                f"The checkpoint {file} is damaged, or of another version; delete it to start afresh.",
                code="checkpoint_damaged",
            ) from error


@torch.no_grad()
def measure(generator: StarterGenerator, heads: Sequence[TrainingHead], canonical: CanonicalSet) -> dict[str, float]:
    """How well described heads are told: colour PSNR over visible points in dB, outer surface error in mm.

    Args:
        generator: In evaluation mode.
        heads: Not trained on.
        canonical: Lattices of hair and tops.
    """
    hair, tops = torch.from_numpy(canonical.hair), torch.from_numpy(canonical.tops)
    squared, distance = [], []
    for head in heads:
        points = torch.from_numpy(head.points)[None]
        target = outer_distance([head.dressing], hair, tops, points)
        outer, color = generator.decode(generator.planes(generator.map(torch.from_numpy(head.z)[None])), points)
        visible = target[0] > -HIDDEN_M
        visible[head.skin_points :] = True
        truth = torch.from_numpy(head.colors).float() / 255
        squared.append(float((color[0] - truth)[visible].square().mean()))
        distance.append(float((outer.clamp(-0.02, 0.02) - target).abs().mean()))
    return {
        "psnr_db": round(float(-10 * np.log10(np.mean(squared))), 2),
        "outer_mm": round(1000 * float(np.mean(distance)), 3),
    }
