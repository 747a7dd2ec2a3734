# SPDX-License-Identifier: Apache-2.0
"""Magnifying glasses: places of space that count more when nodes and triangles are dealt out, and the way back.

A focus moves each point away from its centre, at distance ``r`` by ``gain reach atan(r / reach)``. Several add up.
Each move is the gradient of a convex function, so that no point is left of another that it was right of, and the sum
can be undone.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from backend.config import Focus
from backend.lattice import Ticks

TABLE = 4096
NEWTON_STEPS = 6


def magnify(points: Float[np.ndarray, "n 3"], focuses: Sequence[Focus]) -> Float[np.ndarray, "n 3"]:
    """The points, moved away from every focus."""
    moved = points.astype(np.float64)
    for focus in focuses:
        arm = points - np.array(focus.centre)
        distance = np.maximum(np.linalg.norm(arm, axis=1, keepdims=True), 1e-9)
        moved += focus.gain * focus.reach * np.arctan(distance / focus.reach) / distance * arm
    return moved


def unmagnify(
    moved: Float[np.ndarray, "n 3"], focuses: Sequence[Focus], start: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """The inverse of ``magnify`` by Newton's method.

    Args:
        moved: Magnified points.
        focuses: The same.
        start: Near each result, closer than a focus reaches.
    """
    points = start.astype(np.float64)
    for _ in range(NEWTON_STEPS if focuses else 0):
        wrong = magnify(points, focuses) - moved
        points = points - np.linalg.solve(_stretch(points, focuses), wrong[..., None])[..., 0]
    return points if focuses else moved


def _stretch(points: Float[np.ndarray, "n 3"], focuses: Sequence[Focus]) -> Float[np.ndarray, "n 3 3"]:
    """The derivative of ``magnify``; symmetric, at least the identity."""
    total = np.repeat(np.eye(3)[None], len(points), axis=0)
    for focus in focuses:
        arm = points - np.array(focus.centre)
        distance = np.maximum(np.linalg.norm(arm, axis=1), 1e-9)
        outwards = arm / distance[:, None]
        across = focus.gain * focus.reach * np.arctan(distance / focus.reach) / distance
        along = focus.gain / (1 + (distance / focus.reach) ** 2)
        total += across[:, None, None] * np.eye(3)
        total += (along - across)[:, None, None] * outwards[:, :, None] * outwards[:, None, :]
    return total


def lattice_ticks(side: float, nodes: int, focus: Focus | None) -> Ticks:
    """Where the planes of a cube's lattice stand, denser around the focus on each axis; even without one."""
    even = np.linspace(-side / 2, side / 2, nodes)
    if focus is None:
        return even, even, even
    fine = np.linspace(-side / 2, side / 2, TABLE)
    ticks = []
    for middle in focus.centre:
        moved = fine + focus.gain * focus.reach * np.arctan((fine - middle) / focus.reach)
        ticks.append(np.interp(np.linspace(moved[0], moved[-1], nodes), moved, fine))
    return ticks[0], ticks[1], ticks[2]
