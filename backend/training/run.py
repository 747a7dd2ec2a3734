# SPDX-License-Identifier: Apache-2.0
"""What every training run is: steps at a rate that rises and falls, an average of the weights, checkpoints and a log.

A run that is taken up again ends bit for bit where an unbroken one does.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from backend.errors import ModelError, SettingsError
from backend.training.kept import write_whole

LOWEST_RATE = 1 / 30  # Of the highest, at the end of a run.
CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"


@dataclass(frozen=True)
class RunConfig:
    """How long and how fast a run learns.

    Args:
        steps: Optimiser steps.
        learning_rate: Highest rate of Adam.
        warmup_steps: Linear rise to it.
        decay_from: Share of the run after which the rate falls to ``LOWEST_RATE`` of it.
        average_half_steps: Half life of the average of the weights.
        checkpoint_s: Seconds between checkpoints.
        log_steps: Steps between lines of the log.
        seed: Of weights and batches.
    """

    steps: int
    learning_rate: float = 2.5e-3
    warmup_steps: int = 50
    decay_from: float = 0.45
    average_half_steps: float = 150.0
    checkpoint_s: float = 120.0
    log_steps: int = 25
    seed: int = 0


class Run(ABC):
    """The state of a run: a network, its average, its optimiser and how many steps are done.

    Args:
        network: Trained in place, on the device where it is.
        optimizer: Over all its parameters; a group may have a ``share`` of the rate.
        config: The run.
        folder: For the checkpoint and the log.
        clip: Largest norm of the gradient.
    """

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, *, config: RunConfig, folder: Path, clip: float
    ) -> None:
        self.network, self.optimizer, self._config = network, optimizer, config
        self.folder, self.clip = folder, clip
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.step = 0

    @abstractmethod
    def next_step(self) -> dict[str, float]:
        """Make one step with ``descend`` and tell its losses."""

    @abstractmethod
    def state(self) -> dict[str, object]:
        """What a checkpoint holds besides ``step``, ``config``, ``average`` and ``optimizer``."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave. What is missing or does not fit is a KeyError, ValueError or RuntimeError."""

    @property
    def is_over(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self._config.steps

    def run(
        self,
        *,
        until: int | None = None,
        seconds: float = float("inf"),
        after_step: Callable[[], None] | None = None,
        say: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        """Train to the last step, with checkpoints.

        Args:
            until: Stop at this step already.
            seconds: Stop after this time already, with a checkpoint.
            after_step: Called after every step.
            say: Hears of the losses in every line of the log.

        Raises:
            ModelError: A loss or a gradient is no longer a number; the last checkpoint stays.
            OutputError: The checkpoint cannot be written; the one before stays.
        """
        config, started = self._config, time.monotonic()
        saved = started
        last = config.steps if until is None else min(until, config.steps)
        if self.step < last:
            self._drop_later_lines()
        while self.step < last:
            losses = self.next_step()
            self.step += 1
            if self.step % config.log_steps == 0 or self.is_over:
                self._log(losses)
                if say:
                    say(losses)
            is_late = time.monotonic() - started > seconds
            if time.monotonic() - saved > config.checkpoint_s or self.step == last or is_late:
                self.save()
                saved = time.monotonic()
            if after_step:
                after_step()
            if is_late:
                return

    def rate(self) -> float:
        """Learning rate of the coming step."""
        config = self._config
        fall = max(0.0, (self.step / config.steps - config.decay_from) / (1 - config.decay_from))
        return config.learning_rate * min(1.0, (self.step + 1) / config.warmup_steps) * LOWEST_RATE**fall

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser and of the average.

        Raises:
            ModelError: The loss or its gradient is no number; the weights stay as they are.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate() * group.get("share", 1.0)
        descend(self.optimizer, loss, clip=self.clip, step=self.step)
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights, faster at the start."""
        keep = min(0.5 ** (1 / self._config.average_half_steps), self.step / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)

    def save(self) -> None:
        """Write the checkpoint; a crash while writing leaves the one before.

        Raises:
            OutputError: It cannot be written.
        """
        state = {
            "step": self.step,
            "config": asdict(self._config),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            **self.state(),
        }
        write_whole(self.folder / CHECKPOINT, lambda partial: torch.save(state, partial))

    def resume(self) -> None:
        """Take up the run in ``folder``, if there is one.

        Raises:
            ModelError: Its checkpoint is damaged, or of another version or other settings.
        """
        file = self.folder / CHECKPOINT
        if not file.exists():
            return
        try:
            state = torch.load(file, weights_only=True, map_location=next(self.network.parameters()).device)
            self.restore(state)
            self.optimizer.load_state_dict(state["optimizer"])
            self.average, self.step = state["average"], state["step"]
        except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
            raise ModelError(
                f"The checkpoint {file} is damaged, or of another version or other settings; "
                "delete it to start afresh.",
                code="checkpoint_damaged",
            ) from error

    def _log(self, losses: dict[str, float]) -> None:
        line = {"step": self.step, "time": round(time.time()), "rate": self.rate(), **losses}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _drop_later_lines(self) -> None:
        """What was logged after the checkpoint will be logged again."""
        file = self.folder / LOG
        if file.exists():
            lines = [line for line in file.read_text().splitlines() if json.loads(line)["step"] <= self.step]
            write_whole(file, lambda partial: partial.write_text("".join(f"{line}\n" for line in lines)))


def check_asked_to_resume(folder: Path, resume: bool) -> None:
    """A run that was begun is gone on with only if that was asked for.

    Raises:
        SettingsError: There is one and it was not.
    """
    if not resume and (folder / CHECKPOINT).exists():
        raise SettingsError(f"A run was begun in {folder}. Add --resume to go on with it, or delete that folder.")


def descend(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    clip: float,
    step: int,
    advice: str = "The last checkpoint is kept; resume with a lower rate.",
) -> None:
    """One step of an optimiser, with the norm of its parameters' gradient limited.

    Args:
        optimizer: Its rates are set.
        loss: Of its parameters.
        clip: Largest norm of the gradient.
        step: Number of the step, for the error.
        advice: What the error tells to do.

    Raises:
        ModelError: The loss or its gradient is no number; the weights stay as they are.
    """
    optimizer.zero_grad()
    if torch.isfinite(loss):
        loss.backward()
        learning = [value for group in optimizer.param_groups for value in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(learning, clip)
        if torch.isfinite(norm):
            optimizer.step()
            return
    raise ModelError(f"Training diverged at step {step}. {advice}", code="training_diverged")
