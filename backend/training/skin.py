# SPDX-License-Identifier: Apache-2.0
"""Colour of the skin at points of the MakeHuman rest mesh, as a pure function of an ``Appearance``.

Coordinates are decimetres on the rest mesh (eyes at y 7.28, mouth 6.61, chin 6.15, nose tip z 1.7), so a place
on the skin has the same coordinates on every head. All curves below were read off that mesh.
"""

import numpy as np
from jaxtyping import Float

from backend.training.appearance import Appearance
from backend.training.face_hair import add_beard, add_brows, add_scalp_hair
from backend.training.paint import Curve, bump, curve_at, mix, scale, smooth_step
from backend.training.skin_points import SkinPoints

# Edges of the eye's opening on the left eye: x to y.
UPPER_LID: Curve = (
    (0.165, 7.274), (0.20, 7.284), (0.22, 7.296), (0.24, 7.311), (0.26, 7.319), (0.30, 7.328), (0.34, 7.330),
    (0.38, 7.324), (0.40, 7.318), (0.42, 7.309), (0.442, 7.291),
)  # fmt: skip
LOWER_LID: Curve = (
    (0.165, 7.270), (0.20, 7.262), (0.22, 7.258), (0.26, 7.248), (0.31, 7.243), (0.36, 7.246), (0.40, 7.257),
    (0.42, 7.268), (0.442, 7.288),
)  # fmt: skip
LID_FOLD: Curve = (
    (0.19, 7.315), (0.23, 7.345), (0.28, 7.362), (0.34, 7.366), (0.40, 7.353), (0.45, 7.325),
)  # fmt: skip
BAG: Curve = ((0.19, 7.222), (0.25, 7.192), (0.32, 7.182), (0.39, 7.192), (0.44, 7.215))
TEAR_TROUGH: Curve = ((0.17, 7.245), (0.20, 7.19), (0.26, 7.135), (0.33, 7.10))
NASOLABIAL: Curve = ((0.165, 6.95), (0.20, 6.90), (0.255, 6.80), (0.295, 6.70), (0.315, 6.62))
MARIONETTE: Curve = ((0.275, 6.59), (0.30, 6.51), (0.305, 6.42))
NOSE_WING: Curve = ((0.115, 7.005), (0.155, 6.975), (0.168, 6.93), (0.155, 6.885), (0.13, 6.868))
CROW_FEET: tuple[Curve, ...] = (
    ((0.475, 7.315), (0.53, 7.350), (0.575, 7.375)),
    ((0.480, 7.290), (0.535, 7.290), (0.585, 7.295)),
    ((0.475, 7.268), (0.525, 7.235), (0.565, 7.205)),
)
FOREHEAD_LINES: tuple[Curve, ...] = (
    ((0.0, 7.655), (0.15, 7.672), (0.32, 7.678), (0.46, 7.650)),
    ((0.0, 7.760), (0.16, 7.775), (0.34, 7.775), (0.46, 7.750)),
    ((0.0, 7.860), (0.16, 7.870), (0.32, 7.865), (0.42, 7.845)),
)
FROWN_LINE: Curve = ((0.050, 7.405), (0.062, 7.470), (0.055, 7.540))
MOUTH_Y, MOUTH_CORNER_X = 6.61, 0.25
# Multipliers of sRGB colour where skin is fully creased, shaded, flushed or blue below the surface.
CREASE = (0.62, 0.50, 0.47)
SHADE = (0.74, 0.65, 0.64)
FLUSH = (1.02, 0.82, 0.82)
VEINS = (0.86, 0.87, 0.94)
MOLES = 10


def skin_color(
    appearance: Appearance, points_base: Float[np.ndarray, "n 3"], masks: dict[str, Float[np.ndarray, "n"]]
) -> Float[np.ndarray, "n 3"]:
    """sRGB albedo of the skin with hair that grows on it, and soft shade in creases, but no directional light.

    Args:
        appearance: The person.
        points_base: On the rest mesh, decimetres.
        masks: At the same points, as from ``masks.masks_at_uv``.
    """
    return skin_color_at(appearance, SkinPoints(points_base, masks))


def skin_color_at(appearance: Appearance, place: SkinPoints) -> Float[np.ndarray, "n 3"]:
    """As ``skin_color``, faster when the same places are painted for many people."""
    color = np.tile(appearance.skin_base.astype(np.float32), (len(place), 1))
    color = _add_blood(color, place, appearance)
    color = _add_texture(color, place, appearance)
    color = _add_face_shade(color, place, appearance)
    color = _add_wrinkles(color, place, appearance)
    color = _add_lips(color, place, appearance)
    color = _add_lids(color, place, appearance)
    color = add_brows(color, place, appearance)
    color = add_beard(color, place, appearance)
    color = add_scalp_hair(color, place, appearance)
    color = _add_lashes(color, place, appearance)
    return np.clip(_add_mouth_inside(color, place), 0.0, 1.0)


def _add_blood(color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Red cheeks, nose, ears and chin; a yellower forehead; bluish sockets."""
    flush = (
        0.75 * place.spot((0.46, 6.98, 1.25), (0.17, 0.16, 0.3))
        + 0.55 * place.spot((0.0, 6.97, 1.68), (0.12, 0.10, 0.18))
        + 0.35 * place.spot((0.15, 6.92, 1.5), 0.07)
        + 0.60 * place.masks["ears"]
        + 0.25 * place.spot((0.0, 6.32, 1.42), (0.16, 0.10, 0.2))
        + 0.10 * place.masks["face"]
    )
    flush *= 1 + 0.20 * place.noise(9.0, 3) + 0.22 * place.noise(4.0, 5)
    color = scale(color, FLUSH, (0.20 + 0.85 * appearance.ruddiness) * (1 - 0.45 * appearance.melanin) * flush)
    forehead = place.spot((0.0, 7.75, 1.4), (0.4, 0.22, 0.4))
    color = scale(color, (1.01, 1.01, 0.95), forehead)
    # Dark skin is lighter where it is thick: on nose, cheekbones and forehead.
    glow = place.spot((0.40, 7.02, 1.3), 0.2) + place.spot((0.0, 7.05, 1.6), 0.15) + 0.6 * forehead
    return scale(color, (1.10, 1.09, 1.08), appearance.melanin * glow)


def _add_texture(
    color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance
) -> Float[np.ndarray, "n 3"]:
    """Mottling, pores, freckles, age spots and moles; the only layer that differs between left and right."""
    mottling = 0.7 * place.layers(6.0, 3, seed=11) + 0.5 * place.noise(2.4, 15)
    pores = place.noise(62.0, 17)
    color = color * (1 + mottling[:, None] * np.array([0.020, 0.040, 0.042], np.float32) + 0.014 * pores[:, None])
    if appearance.freckles > 0:
        grain = place.noise(40.0, 23) + 0.4 * place.noise(80.0, 29)
        where = place.spot((0.30, 7.03, 1.4), (0.24, 0.14, 0.4)) + place.spot((0, 7.1, 1.6), 0.16)
        where = appearance.freckles * np.clip(where + 0.18 * place.front, 0, 1)
        # Most of it as an even tint: single specks are finer than what is learnt from these colours.
        color = scale(color, (0.86, 0.76, 0.68), where * (0.35 + 0.55 * smooth_step(grain, 0.15, 0.65)))
    if appearance.wrinkles > 0:
        grain = place.layers(9.0, 2, seed=37)
        where = place.spot((0.50, 7.62, 1.0), (0.22, 0.40, 0.5)) + 0.5 * place.front
        spots = appearance.wrinkles * (1 - 0.6 * appearance.melanin) * where
        color = scale(color, (0.84, 0.75, 0.66), 0.55 * spots * smooth_step(grain, 0.28, 0.55))
    for number in range(round(MOLES * appearance.moles)):
        distance = np.linalg.norm(place.points - _MOLE_PLACES[number].astype(np.float32), axis=1)
        size = float(_MOLE_SIZES[number])
        color = scale(color, (0.52, 0.42, 0.38), 0.8 * smooth_step(distance, size * 1.5, size * 0.6))
    return color


def _mole_places() -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m"]]:
    """The same candidates for everybody, on face and neck; a person has the first few of them."""
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-0.6, 0.6, MOLES), rng.uniform(5.9, 7.8, MOLES)
    # Depth of the rest mesh's face, roughly an ellipse in x.
    z = 0.75 + 0.75 * np.sqrt(np.clip(1 - (x / 0.72) ** 2, 0, 1))
    return np.stack([x, y, z], axis=1), rng.uniform(0.009, 0.015, MOLES)


_MOLE_PLACES, _MOLE_SIZES = _mole_places()


def _add_face_shade(
    color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance
) -> Float[np.ndarray, "n 3"]:
    """Soft shade in sockets, beside and below the nose, below lip and chin, and in the ears."""
    front = place.front
    sockets = place.spot((0.29, 7.29, 1.33), (0.15, 0.075, 0.25)) + 0.6 * place.spot((0.14, 7.33, 1.42), 0.06)
    under_eye = place.spot((0.28, 7.19, 1.36), (0.11, 0.035, 0.2))
    color = scale(color, SHADE, 0.35 * sockets * (0.5 + appearance.eye_shadow))
    color = scale(color, VEINS, (0.25 + 1.0 * appearance.eye_shadow) * np.clip(under_eye + 0.4 * sockets, 0, 1))
    nostril = place.spot((0.075, 6.868, 1.56), (0.032, 0.014, 0.06))
    color = scale(color, (0.25, 0.17, 0.16), np.clip(1.1 * nostril, 0, 1))
    below_nose = place.spot((0.0, 6.835, 1.56), (0.11, 0.022, 0.1))
    wing, _ = place.stroke(NOSE_WING)
    wing_crease = bump(wing, 0.0, 0.012) * smooth_step(place.z, 1.56, 1.50) * front
    below_lip = place.spot((0.0, 6.478, 1.5), (0.12, 0.022, 0.15))
    below_jaw = smooth_step(place.y, 6.32, 6.05) * smooth_step(place.z, 0.2, 0.6) * smooth_step(place.z, 1.38, 1.2)
    dimple = place.spot((0.0, 6.745, 1.59), (0.022, 0.035, 0.08))
    total = 0.45 * below_nose + 0.40 * below_lip + 0.45 * below_jaw + 0.16 * dimple
    color = scale(color, SHADE, np.clip(total, 0, 1))
    color = scale(color, CREASE, 0.55 * wing_crease)
    ear_hollow = place.masks["ears"] * bump(place.x, 0.735, 0.035) * place.spot((0.75, 7.12, 0.52), 0.12)
    return scale(color, CREASE, 0.6 * ear_hollow)


def _add_wrinkles(
    color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance
) -> Float[np.ndarray, "n 3"]:
    """Lines that age draws; the folds beside the nose and below the eyes are there in everybody."""
    strength = appearance.wrinkles
    lines: list[tuple[Curve, float, float]] = [
        (NASOLABIAL, 0.14 + 0.40 * strength, 0.018),
        (MARIONETTE, 0.05 + 0.30 * strength, 0.017),
        (TEAR_TROUGH, 0.08 + 0.28 * max(appearance.eye_shadow, strength), 0.024),
        (BAG, 0.08 + 0.36 * strength, 0.013),
        (FROWN_LINE, 0.03 + 0.28 * strength, 0.010),
    ]
    lines += [(curve, 0.32 * strength, 0.008) for curve in CROW_FEET]
    lines += [(curve, 0.03 + 0.32 * strength, 0.013) for curve in FOREHEAD_LINES]
    dark, light = np.zeros(len(color), np.float32), np.zeros(len(color), np.float32)
    for curve, amount, width in lines:
        distance, along = place.stroke(curve, waver=0.008)
        fade = amount * smooth_step(along, 0.0, 0.3) * smooth_step(along, 1.0, 0.5)
        # A crisp line in a wide soft valley.
        valley = 0.62 * bump(distance, 0.0, 0.55 * width) + 0.38 * bump(distance, 0.0, 2.2 * width)
        dark = np.maximum(dark, fade * valley)
        # The skin bulges beside a fold and catches more light there.
        light = np.maximum(light, fade * bump(distance, 3.4 * width, 1.2 * width))
    color = scale(color, CREASE, dark * place.front)
    return scale(color, (1.10, 1.10, 1.09), np.where(dark < light, light * place.front, 0.0))


def _add_lips(color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Lips with a soft edge, a darker upper lip, fine furrows and a dark line where they meet."""
    x, y = place.x, place.y
    is_upper = smooth_step(y, MOUTH_Y - 0.006, MOUTH_Y + 0.006)
    furrows = place.noise((40.0, 9.0, 9.0), 61)
    lip = appearance.lip_base.astype(np.float32) * (1 + 0.045 * furrows[:, None])
    lip = scale(lip, (0.90, 0.85, 0.86), is_upper)
    full = place.spot((0.0, 6.555, 1.58), (0.11, 0.026, 0.2))
    lip = scale(lip, (1.09, 1.11, 1.11), full)
    cover = smooth_step(place.masks["lips"], 0.05, 1.0 - 0.15 * appearance.lipstick)
    color = mix(color, lip, (0.84 + 0.14 * appearance.lipstick) * cover)
    line = bump(y, MOUTH_Y - 0.002, 0.011) * smooth_step(x, MOUTH_CORNER_X + 0.03, MOUTH_CORNER_X - 0.03)
    corner = place.spot((0.262, 6.612, 1.43), (0.020, 0.016, 0.06))
    return scale(
        color, (0.44, 0.31, 0.31), np.clip((0.70 * line + 0.5 * corner) * smooth_step(place.z, 1.25, 1.35), 0, 1)
    )


def _near_eye(place: SkinPoints) -> Float[np.ndarray, "n"]:
    """1 on the skin around the eye's opening, fading to 0 around it."""
    return smooth_step(place.spot((0.315, 7.30, 1.36), (0.13, 0.085, 0.12)), 0.08, 0.40)


def _add_lids(color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Fold and make-up of the upper lid, pink rim and tear duct."""
    x, y = place.x, place.y
    near = _near_eye(place) * smooth_step(place.z, 1.25, 1.31)
    above = y - curve_at(x, UPPER_LID)
    fold, along = place.stroke(LID_FOLD)
    fold_line = near * bump(fold, 0.0, 0.008) * smooth_step(along, -0.05, 0.2) * smooth_step(along, 1.05, 0.8)
    color = scale(color, CREASE, 0.60 * fold_line)
    lid = near * smooth_step(above, -0.004, 0.006) * smooth_step(above, 0.06, 0.03)
    color = scale(color, (0.93, 0.87, 0.87), lid * (0.5 + 0.5 * appearance.eye_shadow))
    makeup = appearance.eye_makeup * near * smooth_step(above, -0.004, 0.004) * smooth_step(above, 0.11, 0.03)
    color = scale(color, (0.58, 0.49, 0.50), 0.75 * makeup)
    opening = smooth_step(x, 0.17, 0.20) * smooth_step(x, 0.447, 0.435)
    inside = (
        near * opening * smooth_step(above, 0.003, -0.004) * smooth_step(y - curve_at(x, LOWER_LID), -0.010, -0.004)
    )
    rim = np.clip(appearance.skin_base * np.array([1.0, 0.80, 0.80]), 0, 1)
    color = mix(color, rim, 0.7 * inside)
    duct = place.spot((0.183, 7.272, 1.37), (0.016, 0.010, 0.05))
    return mix(color, np.array([0.66, 0.38, 0.36]) * (1 - 0.35 * appearance.melanin), 0.75 * duct)


def _add_lashes(color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Dark lines along the lid margins, thicker above and towards the outer corner."""
    x, y = place.x, place.y
    near = _near_eye(place) * smooth_step(place.z, 1.25, 1.31)
    outwards = smooth_step(x, 0.18, 0.40)
    above, below = y - curve_at(x, UPPER_LID), curve_at(x, LOWER_LID) - y
    ends = smooth_step(x, 0.175, 0.21) * smooth_step(x, 0.485, 0.445)
    thickness = (0.009 + 0.009 * outwards) * (0.7 + 0.6 * appearance.lash_darkness)
    upper = smooth_step(above, -0.030, -0.008) * smooth_step(above, 1.6 * thickness, 0.5 * thickness)
    # Beyond the outer corner the line flicks up a little.
    lower = bump(below, 0.004, 0.0055) * (0.15 + 0.35 * outwards)
    darkness = (
        near * ends * np.maximum(upper * (0.55 + 0.4 * appearance.lash_darkness), lower * appearance.lash_darkness)
    )
    lash = np.minimum(appearance.hair_base * 0.25, 0.11)
    return mix(color, lash, darkness)


def _add_mouth_inside(color: Float[np.ndarray, "n 3"], place: SkinPoints) -> Float[np.ndarray, "n 3"]:
    """Dark red behind the lips, black further in."""
    inside = place.masks["inside-mouth"] * smooth_step(place.z, 1.50, 1.40)
    color = mix(color, np.array([0.33, 0.12, 0.11]), inside)
    return scale(color, (0.25, 0.2, 0.2), inside * smooth_step(place.z, 1.40, 1.15))
