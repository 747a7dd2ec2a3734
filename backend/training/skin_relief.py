# SPDX-License-Identifier: Apache-2.0
"""What light sees of the skin besides its colour: pores and wrinkles as relief, and where it shines.

Only portraits use this; the colours that the generator learns hold no relief.
"""

import numpy as np
from jaxtyping import Float

from backend.training.appearance import Appearance
from backend.training.face_hair import beard_regions, scalp_cover
from backend.training.paint import bump, smooth_step
from backend.training.skin import CROW_FEET, FOREHEAD_LINES, FROWN_LINE, LID_FOLD, NASOLABIAL
from backend.training.skin_points import SkinPoints

PORE_M, LUMP_M, HAIR_M, FURROW_M = 0.000016, 0.00008, 0.00012, 0.00006
LINE_DEPTH_M, LINE_WIDTH_DM = 0.00032, 0.010
SKIN_SHINE, LIP_SHINE, HAIR_SHINE = 0.21, 0.36, 0.05


def skin_relief(appearance: Appearance, place: SkinPoints) -> Float[np.ndarray, "n"]:
    """Height above the smooth skin, metres."""
    pores = place.noise(62.0, 17) + 0.6 * place.noise(100.0, 19)
    calm = 1 - 0.7 * np.clip(place.masks["lips"] + place.masks["ears"], 0, 1)
    height = PORE_M * (0.7 + 0.6 * appearance.age) * calm * pores + LUMP_M * place.layers(14.0, 2, seed=21)
    furrows = place.noise((40.0, 9.0, 9.0), 61)
    height += FURROW_M * place.masks["lips"] * furrows
    lines = [(NASOLABIAL, 0.15 + 0.6 * appearance.wrinkles), (FROWN_LINE, 0.7 * appearance.wrinkles), (LID_FOLD, 0.4)]
    lines += [(curve, 0.7 * appearance.wrinkles) for curve in (*CROW_FEET, *FOREHEAD_LINES)]
    for curve, amount in lines:
        distance, along = place.stroke(curve, waver=0.008)
        fade = smooth_step(along, 0.0, 0.3) * smooth_step(along, 1.0, 0.5) * place.front
        height -= LINE_DEPTH_M * amount * fade * bump(distance, 0.0, LINE_WIDTH_DM)
    return height + HAIR_M * _hairiness(appearance, place) * place.noise((90.0, 40.0, 90.0), 87)


def skin_shine(appearance: Appearance, place: SkinPoints) -> Float[np.ndarray, "n"]:
    """0 is dull, 1 a wet eye: an oily forehead and nose, moist lips, dull hair."""
    oily = (
        0.8 * place.spot((0.0, 7.70, 1.45), (0.25, 0.16, 0.3))
        + place.spot((0.0, 7.02, 1.62), (0.08, 0.16, 0.2))
        + 0.5 * place.spot((0.40, 7.08, 1.3), (0.12, 0.09, 0.2))
        + 0.3 * place.spot((0.0, 6.30, 1.45), 0.10)
    )
    shine = SKIN_SHINE * (1 + 0.45 * np.clip(oily, 0, 1.2) - 0.25 * appearance.wrinkles + 0.10 * place.noise(9.0, 91))
    moist = LIP_SHINE + 0.22 * appearance.lipstick
    shine = shine + (moist - shine) * place.masks["lips"]
    return shine + (HAIR_SHINE - shine) * np.clip(_hairiness(appearance, place), 0, 1)


def stubble_grain(appearance: Appearance, place: SkinPoints) -> Float[np.ndarray, "n"]:
    """Factor on the colour for single hairs, finer than the generator can learn."""
    return 1 + 0.20 * _hairiness(appearance, place) * place.noise((95.0, 45.0, 95.0), 93)


def _hairiness(appearance: Appearance, place: SkinPoints) -> Float[np.ndarray, "n"]:
    """1 where a beard or cropped hair covers the skin."""
    regions = np.stack(beard_regions(place)) * appearance.beard_regions[:, None].astype(np.float32)
    bare = np.clip(place.masks["lips"] + place.masks["inside-mouth"] + place.masks["ears"], 0, 1)
    return np.maximum(regions.max(0), appearance.scalp_hair * scalp_cover(place, appearance)) * (1 - bare)
