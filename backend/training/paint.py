# SPDX-License-Identifier: Apache-2.0
"""Brushes: soft edges, spots and strokes as functions of position, and ways to lay colour over colour."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Curve = Sequence[tuple[float, float]]


def smooth_step(
    value: Float[np.ndarray, "n"],
    low: float | Float[np.ndarray, "n"],
    high: float | Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    """0 below ``low``, 1 above ``high``, smooth between; ``low`` may be the larger one for a falling edge."""
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return share * share * (3 - 2 * share)


def bump(value: Float[np.ndarray, "n"], centre: float, width: float) -> Float[np.ndarray, "n"]:
    """A bell of height 1; ``width`` is its standard deviation."""
    return np.exp(-0.5 * ((value - centre) / width) ** 2)


def spot(
    points: Float[np.ndarray, "n 3"], centre: tuple[float, float, float], radius: float | tuple[float, float, float]
) -> Float[np.ndarray, "n"]:
    """A bell-shaped ball, 1 at the centre; ``radius`` is the standard deviation, along each axis if three."""
    radii = radius if isinstance(radius, tuple) else (radius,) * 3
    squared = sum(((points[:, axis] - centre[axis]) / radii[axis]) ** 2 for axis in range(3))
    return np.exp(-0.5 * squared)


def curve_at(x: Float[np.ndarray, "n"], curve: Curve) -> Float[np.ndarray, "n"]:
    """Height of a curve given by knots with growing x; level beyond its ends."""
    return np.interp(x, [knot[0] for knot in curve], [knot[1] for knot in curve]).astype(x.dtype)


def stroke_distance(
    points: Float[np.ndarray, "n d"], knots: Sequence[Sequence[float]]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Distance to a polyline in the plane or in space, and the place of the nearest point along it from 0 to 1."""
    corners = np.array(knots, dtype=points.dtype)
    steps = np.diff(corners, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    before = np.cumsum(lengths) - lengths
    columns = [np.ascontiguousarray(points[:, axis]) for axis in range(points.shape[1])]
    nearest, place = np.full(len(points), np.inf, points.dtype), np.zeros(len(points), points.dtype)
    for start, step, length, passed in zip(corners[:-1], steps, lengths, before, strict=True):
        offsets = [column - origin for column, origin in zip(columns, start, strict=True)]
        along = sum(offset * part for offset, part in zip(offsets, step / length**2, strict=True)).clip(0.0, 1.0)
        squared = sum((offset - along * part) ** 2 for offset, part in zip(offsets, step, strict=True))
        closer = squared < nearest
        nearest[closer] = squared[closer]
        place[closer] = (passed + along[closer] * length) / lengths.sum()
    return np.sqrt(nearest), place


def mix(
    color: Float[np.ndarray, "n 3"],
    other: Float[np.ndarray, "#n 3"] | Float[np.ndarray, "3"],
    amount: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n 3"]:
    """``color`` covered by ``other``; amounts outside [0, 1] are clipped."""
    share = np.clip(amount, 0.0, 1.0)[:, None]
    return color + (np.asarray(other, color.dtype) - color) * share


def scale(
    color: Float[np.ndarray, "n 3"], factor: tuple[float, float, float], amount: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """``color`` times ``factor`` where the amount is 1, unchanged where it is 0."""
    return color * (1 + amount[:, None] * (np.array(factor, color.dtype) - 1))


def ramp(value: float, stops: Sequence[tuple[float, tuple[float, float, float]]]) -> Float[np.ndarray, "3"]:
    """Colour between stops ``(value, colour)`` in growing order."""
    places = [stop[0] for stop in stops]
    return np.array([np.interp(value, places, [stop[1][channel] for stop in stops]) for channel in range(3)])
