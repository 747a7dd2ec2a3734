# SPDX-License-Identifier: Apache-2.0
"""How sure a comparison of two methods is that worked on the same subjects: paired bootstrap intervals.

Whole subjects are drawn again, with all their photos: photos of one head tell less than photos of several.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DRAWS, SEED = 10_000, 0
COVERED = 0.95

# From the sums of both sides' values and the number of values to what is compared, for many draws at once.
Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """An estimate, and between what it lies in 95 of 100 draws; NaN where fewer than two subjects tell no spread."""

    value: float
    low: float
    high: float


def paired_ratio(
    first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"], subjects: Sequence[str], *, draws: int = DRAWS
) -> Interval:
    """The first mean in shares of the second.

    Args:
        first: One value per photo.
        second: Of the same photos.
        subjects: Whom each photo shows.
        draws: More are more exact.

    Source:
        Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13 (percentile intervals).
    """
    return _bootstrap(first, second, subjects, draws, _ratio)


def paired_difference(
    first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"], subjects: Sequence[str], *, draws: int = DRAWS
) -> Interval:
    """How much the first mean is above the second; see ``paired_ratio``."""
    return _bootstrap(first, second, subjects, draws, lambda one, other, count: (one - other) / count)


def _ratio(one: np.ndarray, other: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Infinite where there is nothing to compare with."""
    return np.divide(one, other, out=np.full_like(one, np.inf), where=other > 0)


def _bootstrap(
    first: np.ndarray, second: np.ndarray, subjects: Sequence[str], draws: int, compare: Compare
) -> Interval:
    names, subject = np.unique(np.asarray(subjects), return_inverse=True)
    sums = np.stack([np.bincount(subject, values, len(names)) for values in (first, second, np.ones(len(first)))])
    value = float(compare(*sums.sum(1, keepdims=True))[0])
    if len(names) < 2:
        return Interval(value, np.nan, np.nan)
    drawn = np.random.default_rng(SEED).multinomial(len(names), [1 / len(names)] * len(names), draws)
    found = np.sort(compare(*(drawn @ sums.T).T))
    margin = round((1 - COVERED) / 2 * (draws - 1))
    return Interval(value, float(found[margin]), float(found[-1 - margin]))
