# SPDX-License-Identifier: Apache-2.0
"""What is asked of the methods, as ratios and differences of paired results; a failure counts as the worst of all."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backend.evaluation.intervals import Interval, paired_difference, paired_ratio
from backend.evaluation.inversion_items import Entry
from backend.evaluation.scores import HIGHER_IS_BETTER, NEUTRAL, ItemResult, badness

Kind = Literal["ratio", "difference"]
PUBLISHED_PTI = "pti best"  # With the published numbers of steps.
Verdict = Literal["met", "met, not sure", "missed", "missed, not sure", "no data"]


@dataclass(frozen=True)
class Outcome:
    """What one entry made of one photo.

    Args:
        item: The photo.
        subject: Whom it shows.
        yaw_deg: Where it was taken from; None for real photos.
        entry: Who worked.
        result: What came of it.
    """

    item: str
    subject: str
    yaw_deg: float | None
    entry: Entry
    result: ItemResult


@dataclass(frozen=True)
class Claim:
    """Something that is asked for.

    Args:
        meaning: For people.
        score: What is compared.
        first: Label of the entry that shall be good.
        second: Label of the one it is held against.
        limit: The first one's share of the second, or what it may be above it, shall be at most this; where higher
            scores are better, at least.
        kind: What is compared.
        yaws_deg: Photos from these sides, either side; all when empty.
    """

    meaning: str
    score: str
    first: str
    second: str
    limit: float
    kind: Kind = "ratio"
    yaws_deg: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What came of a claim.

    Args:
        claim: What was asked.
        interval: What was found.
        photos: How many count.
        subjects: How many people they show.
        failures: Of either entry, among those photos.
    """

    claim: Claim
    interval: Interval
    photos: int
    subjects: int
    failures: int

    @property
    def verdict(self) -> Verdict:
        """Whether the limit is kept, and whether all of the interval says so."""
        if not self.photos:
            return "no data"
        sign = -1 if self.claim.score.startswith(HIGHER_IS_BETTER) else 1
        reached = sign * self.interval.value <= sign * self.claim.limit
        ends = (sign * end <= sign * self.claim.limit for end in (self.interval.low, self.interval.high))
        is_sure = not math.isnan(self.interval.low) and all(end == reached for end in ends)
        if reached:
            return "met" if is_sure else "met, not sure"
        return "missed" if is_sure else "missed, not sure"


def _counts(outcome: Outcome, claim: Claim) -> bool:
    yaw = outcome.yaw_deg
    return yaw is not None and (not claim.yaws_deg or abs(yaw) in claim.yaws_deg)


def find(claim: Claim, outcomes: Sequence[Outcome]) -> Finding:
    """Compare both entries on the photos that both have worked on."""
    first, second = (
        {one.item: one for one in outcomes if one.entry.label == label and _counts(one, claim)}
        for label in (claim.first, claim.second)
    )
    pairs = [(one, second[item]) for item, one in first.items() if item in second]
    worst = worst_of(claim.score, outcomes)
    values = [[value_of(one, claim.score, worst) for one in pair] for pair in pairs]
    known = [number for number, pair in enumerate(values) if None not in pair]
    subjects = [pairs[number][0].subject for number in known]
    if not known:
        return Finding(claim, Interval(math.nan, math.nan, math.nan), 0, 0, 0)
    compared = np.array([values[number] for number in known], dtype=float)
    compare = paired_ratio if claim.kind == "ratio" else paired_difference
    failures = sum(bool(one.result.failure) for number in known for one in pairs[number])
    return Finding(claim, compare(compared[:, 0], compared[:, 1], subjects), len(known), len(set(subjects)), failures)


def worst_of(score: str, outcomes: Iterable[Outcome]) -> float | None:
    """The worst value that anything reached; None where nothing has it."""
    values = [value for one in outcomes if (value := one.result.scores.get(score)) is not None]
    return max(values, key=lambda value: badness(score, value), default=None)


def value_of(outcome: Outcome, score: str, worst: float | None) -> float | None:
    """A score; a failure's is the worst. None is what the truth does not tell, and what a failure cost."""
    if not outcome.result.failure:
        return outcome.result.scores.get(score)
    return None if score.startswith(NEUTRAL) else worst


def asked(quality: str) -> list[Claim]:
    """What is asked of the methods.

    Args:
        quality: At which they are compared; times are compared with the published numbers of steps, at ``best``.
    """

    def of(method: str) -> str:
        return f"{method} {quality}"

    own = of("protome")
    direction = [
        Claim(f"spi in pti's MSE, unseen views, {yaw}°", "mse_unseen", of("spi"), of("pti"), limit, yaws_deg=(yaw,))
        for yaw, limit in ((0, 1.05), (30, 1.0), (60, 1.0))
    ]
    return [
        Claim("protome in spi's MSE, ±60° views", "mse_60", own, of("spi"), 0.8),
        Claim("protome in spi's identity excess, ±60° views", "identity_excess_60", own, of("spi"), 0.9),
        Claim("protome in pti's depth RMSE, photo's view", "depth_mm_input", own, of("pti"), 0.8),
        Claim("protome in spi's depth RMSE, photo's view", "depth_mm_input", own, of("spi"), 0.95),
        Claim("protome minus pti, SSIM of the photo's view", "ssim_input", own, of("pti"), -0.01, "difference"),
        Claim("protome in pti's processor time", "seconds_cpu", own, PUBLISHED_PTI, 0.05),
        *direction,
        Claim("triplanenet in pti's MSE, photo's view", "mse_input", of("triplanenet"), of("pti"), 1.1),
        Claim("triplanenet in pti's processor time", "seconds_cpu", of("triplanenet"), PUBLISHED_PTI, 0.01),
        Claim("e3dge in w+'s depth RMSE, photo's view", "depth_mm_input", of("e3dge"), of("w+"), 1.0),
        Claim("e3dge in w+'s depth RMSE, ±60° views", "depth_mm_60", of("e3dge"), of("w+"), 1.0),
        Claim("e3dge in w+'s normal error, photo's view", "normals_deg_input", of("e3dge"), of("w+"), 1.0),
        Claim("three photos in one photo's face error", "face_median_mm", f"{own} 3 photos", own, 0.85),
        Claim("three photos in one photo's MSE, ±60° views", "mse_60", f"{own} 3 photos", own, 0.7),
    ]
