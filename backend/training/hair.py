# SPDX-License-Identifier: Apache-2.0
"""Colour of the hair at points of canonical space (metres), as a pure function of an ``Appearance`` and a style."""

import numpy as np
from jaxtyping import Float

from backend.training.appearance import Appearance
from backend.training.noise import layered_noise, value_noise
from backend.training.paint import bump, mix, scale, smooth_step

CROWN_Z = -0.015  # Hair falls away from a vertical axis through the crown, here on the middle plane.
KNOT = np.array([0.0, 0.045, -0.085])  # Where tied hair is gathered.
SKULL_CENTRE, SKULL_RADII = np.array([0.0, 0.058, 0.024]), np.array([0.074, 0.093, 0.098])
TIED_STYLES = ("ponytail01", "braid01")
CURLY_STYLES = ("afro01",)
PLAIT_LENGTH = 0.034
# Features around the whole head per unit of direction: locks, then strands. Finer ones cannot be learnt.
LOCKS, STRANDS = 5.0, 14.0
FINE_STRANDS = 48.0  # Seen in portraits only.
ALONG_PER_M = 9.0


def hair_color(
    appearance: Appearance,
    points_canonical: Float[np.ndarray, "n 3"],
    style_name: str,
    strands: Float[np.ndarray, "n"] | None = None,
) -> Float[np.ndarray, "n 3"]:
    """sRGB albedo of the hair: strands that follow its flow, darker at roots and below, no directional light.

    Args:
        appearance: Its hair colour, contrast and roots are used.
        points_canonical: On or near the hair's surface, metres.
        style_name: A MakeHuman hair; unknown names fall from the crown.
        strands: ``strand_noise`` there, if it is at hand.
    """
    if strands is None:
        strands = strand_noise(points_canonical, style_name)
    mixed_grey = 4 * appearance.hair_grey * (1 - appearance.hair_grey)
    # Light hair shows its strands by brightness; black hair hardly differs.
    contrast = (0.13 + 0.24 * appearance.strand_contrast) * (1 + 0.4 * mixed_grey)
    color = appearance.hair_base * (1 + contrast * strands[:, None])
    warm = value_noise(points_canonical * 22.0, 131)
    color = color * (1 + 0.05 * (1 - appearance.hair_grey) * warm[:, None] * np.array([1.0, 0.2, -0.9]))
    color = _lighten_ends(color, points_canonical, appearance, strands)
    return np.clip(_add_shade(color, points_canonical, appearance, style_name), 0.0, 1.0)


def _lighten_ends(
    color: Float[np.ndarray, "n 3"],
    points: Float[np.ndarray, "n 3"],
    appearance: Appearance,
    strands: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n 3"]:
    """Sun or dye: lower hair and single locks are lighter and warmer."""
    ends = smooth_step(points[:, 1] + 0.02 * strands, 0.045, -0.06)
    lighter = np.minimum(appearance.hair_base * [2.0, 1.75, 1.5] + [0.10, 0.065, 0.03], [0.86, 0.76, 0.60])
    share = appearance.hair_tips * (0.75 * ends + 0.35 * np.clip(strands, 0, 1))
    return mix(color, np.maximum(lighter, appearance.hair_base), share)


def strand_noise(points: Float[np.ndarray, "n 3"], style_name: str) -> Float[np.ndarray, "n"]:
    """About [-1, 1]; constant along strands."""
    if style_name in CURLY_STYLES:
        return 0.6 * layered_noise(points * 75.0, 2, 101) + 0.5 * value_noise(points * 30.0, 103)
    falling = _flow_noise(points[:, [0, 2]] - [0.0, CROWN_Z], points[:, 1], 107)
    if style_name not in TIED_STYLES:
        return falling
    drawn = _flow_noise(points[:, :2] - KNOT[:2], points[:, 2], 109)
    tail = _is_tail(points)
    return drawn * (1 - tail) + _flow_noise(points[:, [0, 2]] - KNOT[[0, 2]] - [0.0, 0.01], points[:, 1], 113) * tail


def _flow_noise(across: Float[np.ndarray, "n 2"], along: Float[np.ndarray, "n"], seed: int) -> Float[np.ndarray, "n"]:
    """Noise around an axis; ``across`` is the offset from the axis, ``along`` the place on it, metres."""
    around = across / np.linalg.norm(across, axis=1, keepdims=True).clip(1e-4)
    locks = np.concatenate([around * LOCKS, along[:, None] * ALONG_PER_M], axis=1)
    strands = np.concatenate([around * STRANDS, along[:, None] * 2 * ALONG_PER_M], axis=1)
    # Close to the axis the strands would become needles.
    calm = smooth_step(np.linalg.norm(across, axis=1), 0.0, 0.035)
    return 0.62 * value_noise(locks, seed) + 0.62 * calm * value_noise(strands, seed + 1)


def fine_strands(points: Float[np.ndarray, "n 3"], style_name: str) -> Float[np.ndarray, "n"]:
    """Single strands in [-1, 1], finer than the colours that the generator learns show."""
    if style_name in CURLY_STYLES:
        return value_noise(points * 420.0, 117)
    is_tied = style_name in TIED_STYLES
    across = points[:, :2] - KNOT[:2] if is_tied else points[:, [0, 2]] - [0.0, CROWN_Z]
    along = points[:, 2] if is_tied else points[:, 1]
    around = across / np.linalg.norm(across, axis=1, keepdims=True).clip(1e-4)
    return value_noise(np.concatenate([around * FINE_STRANDS, along[:, None] * 2 * ALONG_PER_M], axis=1), 119)


def hair_flow(
    points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], style_name: str
) -> Float[np.ndarray, "n 3"]:
    """Unit direction of the hair, from root to end, in the surface that it makes.

    Args:
        points: In canonical space, metres.
        normals: Of the hair's surface there.
        style_name: As for ``hair_color``.
    """
    across = points - [0.0, 0.0, CROWN_Z]
    around = np.stack([across[:, 2], np.zeros(len(points)), -across[:, 0]], axis=1)
    flow = np.cross(around, normals)
    if style_name in TIED_STYLES:
        drawn = KNOT - points
        drawn = drawn - normals * np.einsum("nc,nc->n", drawn, normals)[:, None]
        tail = _is_tail(points)[:, None]
        flow = _unit(drawn) * (1 - tail) + _unit(flow) * tail
    return _unit(flow)


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return vectors / np.sqrt(np.einsum("nc,nc->n", vectors, vectors)).clip(1e-9)[:, None]


def _is_tail(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """1 on the hair that hangs from the knot, 0 on the head."""
    return np.maximum(smooth_step(points[:, 2], -0.085, -0.105), smooth_step(points[:, 1], -0.045, -0.065))


def _add_shade(
    color: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"], appearance: Appearance, style_name: str
) -> Float[np.ndarray, "n 3"]:
    """Darker at roots, on the underside and between plaits; a faint sheen where hair bends over the head."""
    offset = (points - SKULL_CENTRE) / SKULL_RADII
    reach = np.linalg.norm(offset, axis=1)
    height = offset[:, 1] / reach.clip(1e-6)
    roots = smooth_step(reach, 1.16, 1.0) * smooth_step(points[:, 1], -0.08, -0.02)
    color = scale(color, (0.72, 0.70, 0.68), roots * (0.25 + 0.75 * appearance.hair_roots))
    outwards = np.hypot(points[:, 0], points[:, 2] - CROWN_Z)
    inner = smooth_step(points[:, 1], 0.03, -0.05) * smooth_step(outwards, 0.085, 0.05)
    below = smooth_step(points[:, 1], 0.06, -0.16)
    color = scale(color, (0.66, 0.64, 0.63), np.clip(0.8 * inner + 0.35 * below, 0, 1))
    if style_name == "braid01":
        lean = np.abs(points[:, 0]) * 0.9 - points[:, 1]
        groove = bump(np.mod(lean / PLAIT_LENGTH, 1.0), 0.5, 0.13) * _is_tail(points)
        color = scale(color, (0.62, 0.60, 0.59), groove)
    sheen = bump(height, 0.62, 0.16) if style_name not in CURLY_STYLES else np.zeros(len(points))
    return color * (1 + 0.10 * sheen[:, None]) + 0.018 * sheen[:, None]
