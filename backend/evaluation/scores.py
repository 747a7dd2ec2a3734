# SPDX-License-Identifier: Apache-2.0
"""Results of items, and what they are together: medians and worst tenths in which every failure counts as worst."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HIGHER_IS_BETTER = ("psnr", "ssim", "ms_ssim", "normals_below", "f_score", "uv_area")
BEST_AT_ONE = ("flatness",)
NEUTRAL = ("seconds", "peak", "yaw")  # Of no one's work that failed.
WORST_SHARE = 0.1


@dataclass(frozen=True)
class ItemResult:
    """One item.

    Args:
        name: Of the item.
        scores: By name; None where the truth itself cannot be measured.
        notes: What else is worth knowing, in words.
        failure: Why there are no scores; empty when there are.
        code: Of the failure.
    """

    name: str
    scores: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    code: str = ""


@dataclass(frozen=True)
class Summary:
    """One score over all items.

    Args:
        name: Of the score.
        median: Over items that have it and those that failed; infinite where half of them failed.
        worst: What nine of ten items are better than.
        count: Items that have it.
        failed: Items that failed.
    """

    name: str
    median: float
    worst: float
    count: int
    failed: int


@dataclass(frozen=True)
class Goal:
    """What the starter model is asked for (backend/weights/MODEL_CARD.md says how it does).

    Args:
        score: Its name.
        limit: The median shall not be worse.
        meaning: For people.
    """

    score: str
    limit: float
    meaning: str


SYNTHETIC_GOALS = (
    Goal("psnr_head_40", 20.0, "novel view at ±40°, inside the head, dB"),
    Goal("psnr_inside_40", 20.0, "novel view at ±40°, head and clothes, dB"),
    Goal("face_median_mm", 1.5, "face surface error, mm"),
    Goal("face_of_mean_head", 0.5, "the same, in errors of the mean head"),
    Goal("identity_excess_30", 0.20, "descriptor distance at ±30° beyond that of the true view"),
)
PHOTO_GOALS = (
    Goal("identity_0", 0.45, "descriptor distance to the photo at 0°"),
    Goal("identity_30", 0.55, "descriptor distance to the photo at ±30°"),
)


def badness(name: str, value: float) -> float:
    """Grows as a value of a score gets worse."""
    if name.startswith(HIGHER_IS_BETTER):
        return -value
    return abs(value - 1) if name.startswith(BEST_AT_ONE) else value


def summarize(results: Sequence[ItemResult]) -> list[Summary]:
    """Every score that some item has, in the order of first appearance."""
    failed = sum(bool(result.failure) for result in results)
    names = dict.fromkeys(name for result in results for name in result.scores)
    return [_summary(name, [result.scores.get(name) for result in results], failed) for name in names]


def _summary(name: str, values: Iterable[float | None], failed: int) -> Summary:
    known = sorted((value for value in values if value is not None), key=lambda value: badness(name, value))
    missing = -math.inf if name.startswith(HIGHER_IS_BETTER) else math.inf
    ranked = known + [missing] * (0 if name.startswith(NEUTRAL) else failed)
    if not ranked:
        return Summary(name, math.nan, math.nan, 0, failed)
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    median = high if math.isinf(high) else (low + high) / 2
    worst = ranked[min(math.floor((1 - WORST_SHARE) * len(ranked)), len(ranked) - 1)]
    return Summary(name, median, worst, len(known), failed)


def is_reached(goal: Goal, median: float) -> bool:
    """Whether a median is as good as its goal."""
    return math.isfinite(median) and badness(goal.score, median) <= badness(goal.score, goal.limit)


def median_for(goal: Goal, results: Sequence[ItemResult]) -> float:
    """The median that a goal is about: infinite where all items failed, NaN where there are none."""
    found = {summary.name: summary.median for summary in summarize(results)}
    return found.get(goal.score, math.inf if any(result.failure for result in results) else math.nan)


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; None of none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
