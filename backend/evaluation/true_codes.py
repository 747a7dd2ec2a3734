# SPDX-License-Identifier: Apache-2.0
"""What the starter's generator can show at best: people of the held-out seed, described to it exactly."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from backend.catalogue import STARTER, find_generator
from backend.errors import SettingsError
from backend.evaluation.scores import Goal
from backend.generator.starter import StarterGenerator
from backend.starter import load_starter
from backend.training.dataset import Painter, TrainingHead
from backend.training.pictures import measure_pictures
from backend.training.portrait_source import PortraitSource

YAWS_DEG = (0, 40, 180)
GOALS = (
    Goal("psnr_full_0", 24.0, "generator given true codes, 0°, dB"),
    Goal("psnr_full_40", 23.0, "generator given true codes, 40°, dB"),
    Goal("psnr_full_180", 23.0, "generator given true codes, 180°, dB"),
)


def starter_generator(model: str) -> StarterGenerator:
    """The generator of a starter model.

    Raises:
        SettingsError: The model is of another family, whose codes describe nobody.
    """
    installed = find_generator(model)
    if installed.family != STARTER:
        raise SettingsError(f"--true-codes needs a starter model; {model} is of the family {installed.family}.")
    return load_starter(installed.path).generator


def described_heads(source: PortraitSource, seed: int, count: int) -> list[TrainingHead]:
    """People of a seed as the generator is told of them."""
    painter = Painter(source.studio.canonical)
    heads = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        heads.append(painter.sample(rng, source.heads.sample(rng)))
    return heads


def measure_true_codes(
    generator: StarterGenerator, source: PortraitSource, heads: Sequence[TrainingHead]
) -> tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]]:
    """Mean PSNR in dB by region and angle, and a sheet with truth and generator in turns for each angle.

    Both are lit flatly and have the mean head's shape, see ``training.pictures``: what is measured is hair, clothes
    and colours.
    """
    scores, sheet = measure_pictures(generator, heads, source.studio.canonical, yaws=YAWS_DEG)
    return {f"psnr_{name}": value for name, value in scores.items()}, sheet
