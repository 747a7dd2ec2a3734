# SPDX-License-Identifier: Apache-2.0
"""From random codes and what was measured on their heads to directions that change one measure alone.

Source:
    METHODS.md section 4: with measures m = Bᵀw and S the covariance of w, the direction S B (Bᵀ S B)⁻¹ eᵢ changes
    measure i by one and no other, and is the likeliest of all that do.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # Over the number of samples; the best is chosen by leaving one out.
LARGEST_PARTS = 100  # Principal components that take part; those behind are noise.
SMALLEST_PART = 1e-5  # Of the first component's spread.
KEEPING = 1e-3  # Of the measures' mean square: two that are nearly the same would need endless moves to be told apart.


@dataclass(frozen=True)
class Parts:
    """Principal components of random codes.

    Args:
        mean: Of the codes.
        axes: One standard deviation along each component, the widest first.
    """

    mean: Float[np.ndarray, "w_dim"]
    axes: Float[np.ndarray, "p w_dim"]

    def scores(self, w: Float[np.ndarray, "s w_dim"]) -> Float[np.ndarray, "s p"]:
        """Codes by their components, standard deviations; what lies outside all components is left out."""
        lengths = np.linalg.norm(self.axes, axis=1)
        return (w - self.mean) @ (self.axes / lengths[:, None] ** 2).T


@dataclass(frozen=True)
class Slopes:
    """How measures follow from codes.

    Args:
        per_part: Change of each measure, in its standard deviations, with each component.
        explained: Share of each measure's variance that codes tell which were not regarded; at most 1.
    """

    per_part: Float[np.ndarray, "p m"]
    explained: Float[np.ndarray, "m"]


def principal_parts(w: Float[np.ndarray, "s w_dim"]) -> Parts:
    """The components of random codes, fewer than a half as many as there are codes.

    Raises:
        ValueError: There are fewer than 4 codes, or all are the same.
    """
    if len(w) < 4:
        raise ValueError(f"At least 4 codes are needed, got {len(w)}")
    mean = w.mean(0)
    _, singular, axes = np.linalg.svd(w - mean, full_matrices=False)
    count = min(LARGEST_PARTS, len(w) // 2, int((singular > SMALLEST_PART * singular[0]).sum()))
    if not count:
        raise ValueError("All codes are the same")
    # A vector's sign means nothing; its largest entry decides, so that it is the same on every machine.
    axes = axes[:count] * np.sign(axes[np.arange(count), np.abs(axes[:count]).argmax(1)])[:, None]
    return Parts(mean, singular[:count, None] / np.sqrt(len(w)) * axes)


def fit_slopes(scores: Float[np.ndarray, "s p"], measures: Float[np.ndarray, "s m"]) -> Slopes:
    """Ridge regression of measures on components, each measure with the ridge that predicts it best.

    Args:
        scores: Of each sample.
        measures: Of each sample, in standard deviations around 0.

    Source:
        Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd edition, equation 7.52, for the
        error on a sample that is left out.
    """
    count = len(scores)
    u, singular, axes = np.linalg.svd(scores, full_matrices=False)
    slopes = np.zeros((scores.shape[1], measures.shape[1]))
    errors = np.full(measures.shape[1], np.inf)
    for ridge in RIDGES:
        shrunk = singular**2 / (singular**2 + ridge * count)
        leverage = (u**2 * shrunk).sum(1) + 1 / count
        fitted = (u * shrunk) @ (u.T @ measures)
        left_out = (((measures - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]) ** 2).mean(0)
        better = left_out < errors
        errors[better] = left_out[better]
        solved = axes.T @ ((shrunk / np.maximum(singular, 1e-12))[:, None] * (u.T @ measures))
        slopes[:, better] = solved[:, better]
    return Slopes(slopes, 1 - errors)


def single_moves(slopes: Float[np.ndarray, "p m"], chosen: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k p"]:
    """For each chosen measure the likeliest move of the components that changes it by one and no other.

    Args:
        slopes: Of all measures that are to be held or moved.
        chosen: Which get a move.
    """
    gram = slopes.T @ slopes
    gram += KEEPING * np.trace(gram) / len(gram) * np.eye(len(gram))
    moves = (slopes @ np.linalg.solve(gram, np.eye(len(gram))[:, chosen])).T
    own = np.einsum("kp,pk->k", moves, slopes[:, chosen])
    return moves / own[:, None]
