# SPDX-License-Identifier: Apache-2.0
"""The three phases of the starter's training, each a run of its own that begins with the averaged weights before it.

A: coloured points. B: patches of pictures as well. C: a critic of patches on top, the pixel terms kept.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backend.errors import SettingsError
from backend.generator.starter import StarterGenerator
from backend.progress import Log
from backend.training.canonical import CanonicalSet
from backend.training.critic import Critic, CriticConfig
from backend.training.dataset import TrainingHead
from backend.training.kept import folder_name
from backend.training.patches import PatchConfig, Patches
from backend.training.run import check_asked_to_resume
from backend.training.starter import Trainer, TrainingConfig
from backend.training.true_pictures import PicturePlan, TruePicture

Show = Callable[[Trainer], None]
NAMES = ("points", "patches", "adversarial")


@dataclass(frozen=True)
class Phases:
    """How long and how each phase learns; one of 0 steps is left out.

    Args:
        points: Phase A.
        patches: Phase B.
        adversarial: Phase C.
        pictures: Truth of phases B and C, for the first training heads.
        patch: What is rendered of them in a step.
        critic: Of phase C.
    """

    points: TrainingConfig
    patches: TrainingConfig
    adversarial: TrainingConfig
    pictures: PicturePlan
    patch: PatchConfig = field(default_factory=PatchConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)

    @property
    def steps(self) -> int:
        """Of all phases together."""
        return self.points.steps + self.patches.steps + self.adversarial.steps

    def with_steps(self, steps: Sequence[int]) -> "Phases":
        """With other numbers of steps for the first phases.

        Raises:
            SettingsError: There are more numbers than phases, or one is negative.
        """
        if len(steps) > len(NAMES) or min(steps) < 0:
            raise SettingsError("Give a number of steps, 0 or more, for each of at most 3 phases.")
        changed = {name: replace(getattr(self, name), steps=count) for name, count in zip(NAMES, steps, strict=False)}
        return replace(self, **changed)


@dataclass(frozen=True)
class Lessons:
    """What is learnt from.

    Args:
        heads: Training heads.
        canonical: Lattices of hair and tops.
        pictures: Makes or reads the true pictures; called when a phase needs them.
    """

    heads: Sequence[TrainingHead]
    canonical: CanonicalSet
    pictures: Callable[[], list[list[TruePicture]]]


def train(
    generator: StarterGenerator,
    lessons: Lessons,
    phases: Phases,
    folder: Path,
    *,
    resume: bool,
    log: Log,
    until: int | None = None,
    seconds: float = float("inf"),
    show: Show | None = None,
) -> bool:
    """Train through all phases; the generator has the averaged weights in the end.

    Args:
        generator: Trained in place, on the device where it is.
        lessons: What is learnt from.
        phases: How.
        folder: Of phase A's checkpoint and log; those after it have folders in it.
        resume: Go on with a run that was begun.
        log: Hears of the phases.
        until: Stop at this step, counted through all phases.
        seconds: Stop after this time; a phase that is reached makes one step at least.
        show: Called for every sample sheet.

    Returns:
        Whether all phases are over.

    Raises:
        SettingsError: There is a run already and it was not asked to go on with it.
        ModelError: Training diverged, or a checkpoint or a picture is damaged; the last checkpoint stays.
        OutputError: Something cannot be written; what was there before stays.
    """
    check_asked_to_resume(folder, resume)
    end, before, last_step = time.monotonic() + seconds, 0, 0
    for name in NAMES:
        config: TrainingConfig = getattr(phases, name)
        if not config.steps:
            continue
        if name != "points":
            folder = folder / _folder_name(name, phases, last_step)
        trainer = _trainer(name, generator, lessons, phases, folder)
        trainer.resume()
        log(f"{name}: from step {trainer.step} to {config.steps}, in {folder.name}")
        trainer.run(
            until=None if until is None else max(0, until - before),
            seconds=end - time.monotonic(),
            after_step=_every_so_often(trainer, show) if show else None,
        )
        generator.load_state_dict(trainer.average)
        if not trainer.is_over:
            return False
        before, last_step = before + config.steps, trainer.step
    return True


def _folder_name(name: str, phases: Phases, begun_at: int) -> str:
    """Another batch, other pictures or another beginning are another run, more steps are not."""
    given = (begun_at, replace(getattr(phases, name), steps=0), phases.pictures, phases.patch)
    critic = (phases.critic,) if name == "adversarial" else ()
    return folder_name(name, modules=(), numbers=given + critic)


def _trainer(name: str, generator: StarterGenerator, lessons: Lessons, phases: Phases, folder: Path) -> Trainer:
    config: TrainingConfig = getattr(phases, name)
    if name == "points":
        return Trainer(generator, lessons.heads, lessons.canonical, config=config, folder=folder)
    device = next(generator.parameters()).device
    return Trainer(
        generator,
        lessons.heads,
        lessons.canonical,
        config=config,
        folder=folder,
        patches=Patches(lessons.pictures(), phases.patch, device),
        critic=Critic(phases.critic, device) if name == "adversarial" else None,
    )


def _every_so_often(trainer: Trainer, show: Show) -> Callable[[], None]:
    """Calls ``show`` so many times over the phase."""
    between = max(1, trainer.config.steps // max(1, trainer.config.sheets))

    def after_step() -> None:
        if trainer.step % between == 0:
            show(trainer)

    return after_step
