# SPDX-License-Identifier: Apache-2.0
"""Colour of the clothes at points of canonical space (metres), as a pure function of an ``Appearance`` and a top.

The second colour is the neckband of knitted tops, the collar's tint of shirts, the shirt below a jacket, the straps
of dungarees, and the pattern. Places were read off MakeHuman's garments on the mean head.
"""

import numpy as np
from jaxtyping import Float

from backend.training.appearance import Appearance
from backend.training.noise import layered_noise
from backend.training.paint import Curve, bump, curve_at, mix, scale, smooth_step, stroke_distance

Knots = tuple[tuple[float, float, float], ...]
CREW_NECK: Knots = (
    (0.0, -0.130, 0.039), (0.035, -0.130, 0.032), (0.053, -0.123, 0.004), (0.059, -0.115, -0.026),
    (0.050, -0.116, -0.054), (0.0, -0.126, -0.062),
)  # fmt: skip
SCOOP_NECK: Knots = (
    (0.0, -0.162, 0.060), (0.025, -0.160, 0.057), (0.058, -0.142, 0.034), (0.075, -0.127, -0.005),
    (0.066, -0.120, -0.045), (0.022, -0.132, -0.062), (0.0, -0.133, -0.062),
)  # fmt: skip
V_NECK: Knots = (
    (0.0, -0.170, 0.063), (0.044, -0.154, 0.058), (0.067, -0.136, 0.016), (0.077, -0.120, -0.027),
    (0.042, -0.130, -0.056), (0.0, -0.133, -0.062),
)  # fmt: skip
NECKBANDS: dict[str, Knots] = {
    "female_casualsuit01": SCOOP_NECK,
    "female_casualsuit02": SCOOP_NECK,
    "female_sportsuit01": V_NECK,
    "male_casualsuit02": CREW_NECK,
    "male_casualsuit04": CREW_NECK,
    "male_casualsuit06": CREW_NECK,
}
SHIRTS = ("female_elegantsuit01", "male_casualsuit01", "male_casualsuit03")
# Edge between what is worn below a jacket and the jacket's lapel, and the lapel's outer edge: y to x.
INNER_EDGES: dict[str, Curve] = {
    "male_casualsuit05": (
        (-0.25, 0.018),
        (-0.20, 0.026),
        (-0.18, 0.033),
        (-0.15, 0.048),
        (-0.12, 0.060),
        (-0.09, 0.070),
    ),
    "male_elegantsuit01": ((-0.21, 0.018), (-0.20, 0.022), (-0.18, 0.033), (-0.15, 0.048), (-0.10, 0.052)),
}
LAPEL_EDGES: dict[str, Curve] = {
    "male_casualsuit05": ((-0.25, 0.047), (-0.20, 0.066), (-0.17, 0.092), (-0.155, 0.112), (-0.09, 0.118)),
    "male_elegantsuit01": ((-0.21, 0.060), (-0.19, 0.078), (-0.165, 0.095), (-0.155, 0.097), (-0.10, 0.080)),
}
TIE: Curve = ((-0.21, 0.016), (-0.19, 0.0175), (-0.165, 0.010), (-0.152, 0.011), (-0.143, 0.013))
SHIRT_WHITE = np.array([0.90, 0.90, 0.89])
STRAPS_INNER: Curve = ((-0.21, 0.060), (-0.17, 0.069), (-0.12, 0.074), (-0.10, 0.074))
NECKBAND_M, PATTERN_M, EDGE_M = 0.012, 0.038, 0.0025
PATTERN_CONTRAST = 0.35


def top_color(
    appearance: Appearance, points_canonical: Float[np.ndarray, "n 3"], top_name: str
) -> Float[np.ndarray, "n 3"]:
    """sRGB albedo of a garment with its pattern, second-colour parts and soft folds, no directional light.

    Args:
        appearance: Its top colours and pattern are used.
        points_canonical: On or near the garment's surface, metres.
        top_name: A MakeHuman garment; unknown names are plain all over.
    """
    x = np.abs(points_canonical[:, 0])
    color = _cloth(appearance, points_canonical, top_name)
    second = np.array(appearance.top_second_color)
    if top_name in NECKBANDS:
        mirrored = np.stack([x, points_canonical[:, 1], points_canonical[:, 2]], axis=1)
        distance, _ = stroke_distance(mirrored, NECKBANDS[top_name])
        color = mix(color, second, smooth_step(distance, NECKBAND_M + EDGE_M, NECKBAND_M - EDGE_M))
        color = scale(color, (0.78, 0.78, 0.79), bump(distance, NECKBAND_M, 0.002))
    elif top_name in SHIRTS:
        color = _add_collar(color, points_canonical, second)
    elif top_name in INNER_EDGES:
        color = _add_jacket_front(color, points_canonical, appearance, top_name)
    elif top_name == "male_worksuit01":
        color = mix(color, second, _strap(points_canonical))
    folds = layered_noise(points_canonical * np.array([26.0, 14.0, 26.0]), 2, 151)
    color = color * (1 + 0.05 * folds[:, None])
    low = smooth_step(points_canonical[:, 1], -0.14, -0.21) * smooth_step(x, 0.10, 0.17)
    return np.clip(scale(color, (0.80, 0.80, 0.81), 0.6 * low), 0.0, 1.0)


def _cloth(appearance: Appearance, points: Float[np.ndarray, "n 3"], top_name: str) -> Float[np.ndarray, "n 3"]:
    """The main cloth: knitted tops have stripes around the body, woven ones along it."""
    color = np.tile(np.array(appearance.top_color), (len(points), 1))
    # Woven patterns are softer than the difference between two plain cloths.
    difference = np.array(appearance.top_second_color) - color[:1]
    second = color[:1] + difference * min(1.0, PATTERN_CONTRAST / max(float(np.abs(difference).max()), 1e-6))
    # Bent downwards over the shoulders, where level stripes would spread into blotches.
    level = points[:, 1] - 0.4 * np.maximum(np.abs(points[:, 0]) - 0.05, 0)
    along, around = _wave(level), _wave(points[:, 0])
    if appearance.top_pattern == "stripes":
        return mix(color, second, 0.85 * (along if top_name in NECKBANDS else around))
    if appearance.top_pattern == "check":
        return mix(color, second, 0.38 * (along + around))
    return color


def _wave(place: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Soft-edged stripes, 1 on every second one; the middle of the body is the middle of a stripe."""
    return smooth_step(np.cos(2 * np.pi * place / PATTERN_M), 0.0, 0.55)


def _add_collar(
    color: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 3"]:
    """A collar tinted by the second colour, and the dark line of the button placket."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    edge = np.where(z > 0, -0.135 - 0.35 * (x - 0.05), -0.135)
    collar = smooth_step(y - edge, -EDGE_M, EDGE_M) * smooth_step(x, 0.105, 0.098)
    color = mix(color, second, 0.6 * collar)
    color = scale(color, (0.76, 0.76, 0.77), bump(y - edge, -0.003, 0.003) * smooth_step(x, 0.105, 0.09))
    placket = bump(x, 0.014, 0.0022) * smooth_step(y, -0.165, -0.175) * (z > 0)
    return scale(color, (0.80, 0.80, 0.81), placket)


def _add_jacket_front(
    color: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"], appearance: Appearance, top_name: str
) -> Float[np.ndarray, "n 3"]:
    """Lapels, what is worn below, and the tie of the suit."""
    x, y = np.abs(points[:, 0]), points[:, 1]
    front = smooth_step(points[:, 2], 0.0, 0.015)
    second = np.array(appearance.top_second_color)
    to_lapel_edge = curve_at(y, LAPEL_EDGES[top_name]) - x
    to_inner_edge = curve_at(y, INNER_EDGES[top_name]) - x
    color = scale(color, (0.88, 0.88, 0.88), front * smooth_step(to_lapel_edge, -EDGE_M, EDGE_M))
    color = scale(color, (0.62, 0.62, 0.63), front * bump(to_lapel_edge, -0.002, 0.003))
    has_tie = top_name == "male_elegantsuit01"
    below = 0.25 * second + 0.75 * SHIRT_WHITE if has_tie else second
    color = mix(color, below, front * smooth_step(to_inner_edge, -EDGE_M, EDGE_M))
    color = scale(color, (0.58, 0.58, 0.60), front * bump(to_inner_edge, 0.001, 0.003))
    if has_tie:
        tie = smooth_step(curve_at(y, TIE) - x, -EDGE_M, EDGE_M) * smooth_step(y, -0.136, -0.142)
        color = mix(color, 0.7 * second, front * tie)
    return color


def _strap(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """1 on the shoulder straps of dungarees, which meet on the back."""
    x, y = np.abs(points[:, 0]), points[:, 1]
    drawn_in = 0.75 * np.maximum(-0.115 - y, 0) * (points[:, 2] < -0.03)
    inner = curve_at(y, STRAPS_INNER) * (points[:, 2] >= -0.03) + 0.080 * (points[:, 2] < -0.03) - drawn_in
    return smooth_step(x - inner, -EDGE_M, EDGE_M) * smooth_step(x - inner - 0.028, EDGE_M, -EDGE_M)
