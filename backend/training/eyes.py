# SPDX-License-Identifier: Apache-2.0
"""Colour of the eyeballs at points of the MakeHuman rest mesh (decimetres, gaze along +z)."""

import numpy as np
from jaxtyping import Float

from backend.training.appearance import Appearance
from backend.training.noise import layered_noise, value_noise
from backend.training.paint import bump, mix, scale, smooth_step

EYE_CENTRE = np.array([0.30777, 7.28414, 1.24536])  # Mean of base vertices 14598 to 14669; the other eye is its mirror.
IRIS_RADIUS_DM = 0.058
IRIS_SPREAD_DM = 0.0022
PUPIL_RADIUS_DM = 0.021
# (sRGB) of the white, of blood in it, and of the pupil.
SCLERA, BLOOD, PUPIL = np.array([0.80, 0.765, 0.74]), np.array([0.70, 0.41, 0.36]), np.array([0.022, 0.020, 0.020])


def eye_color(appearance: Appearance, points_base: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """sRGB albedo of white, iris and pupil, with the soft shadow of the lids painted in.

    Args:
        appearance: Its iris, age and melanin are used.
        points_base: On either eyeball of the rest mesh.
    """
    relative = _from_centre(points_base)
    off_axis = np.hypot(relative[:, 0], relative[:, 1])
    is_front = relative[:, 2] > 0
    off_axis = np.where(is_front, off_axis, 1.0)
    color = _sclera(appearance, relative, off_axis)
    radius = IRIS_RADIUS_DM + IRIS_SPREAD_DM * appearance.iris_size
    color = mix(
        color, _iris(appearance, relative, off_axis / radius), smooth_step(off_axis, radius + 0.004, radius - 0.004)
    )
    color = mix(color, PUPIL, smooth_step(off_axis, PUPIL_RADIUS_DM + 0.003, PUPIL_RADIUS_DM - 0.003))
    # The upper lid and its lashes shade the upper third of the opening; the lower lid a little of the bottom.
    shaded = 0.58 * smooth_step(relative[:, 1], 0.004, 0.055) + 0.16 * smooth_step(relative[:, 1], -0.022, -0.05)
    # So do the corners, where the ball turns away below the lids.
    shaded = shaded + 0.30 * smooth_step(np.abs(relative[:, 0]), 0.055, 0.125)
    return np.clip(scale(color, (0.42, 0.36, 0.36), np.minimum(shaded, 1.0)), 0.0, 1.0)


def _from_centre(points_base: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Offsets from the nearer eye's centre, the subject's right eye mirrored onto the left one."""
    mirrored = points_base.copy()
    mirrored[:, 0] = np.abs(mirrored[:, 0])
    return mirrored - EYE_CENTRE


def _sclera(
    appearance: Appearance, relative: Float[np.ndarray, "n 3"], off_axis: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """White that yellows and reddens towards the corners, with faint veins."""
    white = SCLERA * (1 - 0.06 * appearance.melanin * np.array([0.8, 1.0, 1.4]))
    white = white * (1 - 0.05 * appearance.wrinkles * np.array([0.5, 0.8, 1.6]))
    color = np.tile(white, (len(relative), 1))
    # Veins run from the corners towards the iris, so they are long along the circles around the vertical axis.
    veins = np.abs(value_noise(relative * np.array([18.0, 75.0, 18.0]), 41))
    towards_corner = smooth_step(off_axis, 0.062, 0.12)
    color = mix(color, BLOOD, 0.30 * towards_corner * smooth_step(veins, 0.25, 0.0))
    return mix(color, BLOOD, 0.28 * smooth_step(relative[:, 0], -0.055, -0.115) + 0.12 * towards_corner)


def _iris(
    appearance: Appearance, relative: Float[np.ndarray, "n 3"], place: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """Fibres between a lighter ring at the pupil and a dark one at the rim; ``place`` is 1 at the rim."""
    base = np.array(appearance.iris_color)
    length = np.maximum(np.hypot(relative[:, 0], relative[:, 1]), 1e-6)
    around = np.stack([relative[:, 0] / length * 5, relative[:, 1] / length * 5, place * 1.5], axis=1)
    brightness = 0.94 + 0.20 * layered_noise(around, 2, 43) + 0.22 * bump(place, 0.62, 0.18)
    brightness = brightness * (1 - 0.30 * smooth_step(relative[:, 1], -0.01, 0.045))
    color = base * brightness[:, None]
    color = mix(color, base * np.array([1.25, 1.0, 0.7]), 0.35 * bump(place, 0.48, 0.10))
    return scale(color, (0.32, 0.32, 0.35), 0.85 * smooth_step(place, 0.76, 0.99))
