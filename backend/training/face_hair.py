# SPDX-License-Identifier: Apache-2.0
"""Hair that is painted on the skin: brows, beard and the scalp; MakeHuman rest coordinates in decimetres, mirrored."""

import numpy as np
from jaxtyping import Float

from backend.training.appearance import Appearance
from backend.training.noise import value_noise
from backend.training.paint import Curve, bump, curve_at, mix, scale, smooth_step
from backend.training.skin_points import SkinPoints

# The hairline: degrees around the head from the front to height.
HAIRLINE: Curve = (
    (0, 7.985), (18, 7.990), (30, 7.955), (40, 7.860), (46, 7.740), (50, 7.560), (54, 7.380), (58, 7.220), (63, 7.065),
    (72, 7.040), (92, 7.040), (105, 6.960), (125, 6.860), (180, 6.790),
)  # fmt: skip
HEAD_AXIS_Z = 0.35
DM_PER_DEGREE = 0.0125  # Around a head of 0.72 dm radius.
# Upper edge of a beard on the cheek: x to y.
CHEEK_LINE: Curve = ((0.0, 6.80), (0.22, 6.66), (0.36, 6.70), (0.50, 6.80), (0.62, 6.95), (0.72, 7.10))


def add_brows(color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Eyebrows: hairs rise at the inner end, where they stand apart, and lie flat at the tail."""
    x, y = place.x, place.y
    start, end = 0.095, 0.475 + 0.085 * appearance.brow_length
    along = np.clip((x - start) / (end - start), 0, 1)
    arch = appearance.brow_arch
    middle = 7.462 + (0.018 + 0.048 * arch) * np.sin(np.pi * along**1.15 * 0.86) + 0.014 * along - 0.040 * along**4
    width = (0.019 + 0.022 * appearance.brow_thickness) * (0.80 + 0.25 * bump(along, 0.3, 0.25) - 0.62 * along**2.2)
    width *= 0.72 + 0.28 * smooth_step(along, 0.0, 0.22)
    across = (y - middle) / width
    # Hairs lean outwards: strands are long along a direction that turns with the place.
    lean = np.stack([x * 130 - (y - middle) * (120 - 70 * along), y * 25, along * 5], axis=1)
    strands = value_noise(lean, 71)
    body = smooth_step(np.abs(across) + 0.18 * strands, 1.30, 0.25 + 0.15 * appearance.brow_density)
    ends = smooth_step(x, start - 0.02, start + 0.12) * smooth_step(x, end + 0.025, end - 0.09)
    ends = np.clip(ends + 0.45 * strands * ends * (1 - ends) * 4, 0, 1)
    amount = body * ends * (0.46 + 0.44 * appearance.brow_density) * (1 + 0.14 * strands)
    amount = amount * smooth_step(place.z, 0.85, 1.0)
    brow = appearance.hair_base * (0.95 - 0.45 * appearance.brow_darkness) * np.array([0.92, 0.90, 0.88])
    return mix(color, np.minimum(brow, 0.62 * appearance.skin_base), np.clip(amount, 0, 0.92))


def add_beard(color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Shaved shadow of grown men, stubble and full beards; nothing grows on and between the lips."""
    lip, chin, cheek = beard_regions(place)
    grows = 1 - np.clip(np.maximum(place.masks["lips"], place.masks["inside-mouth"]) * 1.4, 0, 1)
    man = min(max((appearance.gender - 0.5) / 0.4, 0.0), 1.0) * (appearance.age > 0.42)
    region = np.maximum(np.maximum(lip * 0.8, chin), cheek * 0.75)
    shaved = man * (0.25 + 0.55 * appearance.hair_melanin) * (1 - 0.8 * appearance.melanin) * (1 - appearance.hair_grey)
    color = scale(color, (0.84, 0.87, 0.91), 0.75 * shaved * region * grows)
    on_lip, on_chin, on_cheek = appearance.beard_regions.tolist()
    if not max(on_lip, on_chin, on_cheek):
        return color
    grain = place.layers((34.0, 17.0, 34.0), 2, seed=73, mirrored=True)
    cover = np.maximum(np.maximum(lip * on_lip, chin * on_chin), cheek * on_cheek)
    # Sparse beards show skin between hairs; ragged edges follow the grain, and short ones fade into the skin.
    cover = np.clip(cover * (1 + 0.30 * grain), 0, 1) ** (1.7 - 0.7 * min(2 * appearance.beard_length, 1.0))
    cover = cover * grows * (0.60 + 0.37 * appearance.beard_length)
    tone = appearance.hair_base * (0.72 + 0.10 * appearance.beard_length) * [1.04, 0.97, 0.93]
    beard = np.minimum(tone.astype(np.float32) * (1 + 0.13 * grain[:, None]), 0.95)
    return mix(color, beard, np.clip(cover, 0, 0.94))


def beard_regions(
    place: SkinPoints,
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Where hair grows on lip, chin and cheeks, each 0 to 1."""
    x, y, z = place.x, place.y, place.z
    ragged = 0.025 * place.noise(12.0, 79, mirrored=True)
    front = smooth_step(z, 1.15, 1.3)
    lip_middle = 6.772 - 0.10 * x - 0.9 * np.maximum(x - 0.16, 0)
    lip = smooth_step(np.abs(y - lip_middle + ragged), 0.074, 0.024) * smooth_step(x, 0.37, 0.25) * front
    lip *= 0.55 + 0.45 * smooth_step(x, 0.0, 0.035)  # Thinner in the groove below the nose.
    above_neck = smooth_step(y + ragged, 5.92, 6.12)
    chin = place.spot((0.0, 6.33, 1.38), (0.20, 0.14, 0.30)) * 1.5
    chin += 0.9 * bump(x, 0.285, 0.05) * bump(y, 6.55, 0.10) * front
    soul_patch_gap = 0.45 * place.spot((0.16, 6.47, 1.45), (0.05, 0.03, 0.2))
    chin = np.clip(chin - soul_patch_gap, 0, 1) * smooth_step(y, 6.60, 6.52) * above_neck
    below_cheek = smooth_step(curve_at(x, CHEEK_LINE) - y + ragged, -0.06, 0.12)
    jaw = smooth_step(z, 0.52, 0.66) * smooth_step(x, 0.90, 0.80)
    # Under the jaw the beard ends where the neck begins.
    neck_end = smooth_step(y - 0.25 * np.clip(1.1 - z, 0, 1) + ragged, 5.98, 6.10)
    return np.clip(lip, 0, 1), chin, below_cheek * jaw * neck_end


def add_scalp_hair(
    color: Float[np.ndarray, "n 3"], place: SkinPoints, appearance: Appearance
) -> Float[np.ndarray, "n 3"]:
    """The tint of hair roots and cropped hair; none grows on the ears."""
    inside = scalp_cover(place, appearance) * (1 - np.clip(1.5 * place.masks["ears"], 0, 1))
    grain = place.layers(26.0, 2, seed=83, mirrored=True)
    amount = np.clip(inside * appearance.scalp_hair * (0.94 + 0.14 * grain), 0, 0.96)
    hair = 0.82 * appearance.hair_base.astype(np.float32) * (1 + 0.06 * grain[:, None])
    return mix(color, hair, amount)


def scalp_cover(place: SkinPoints, appearance: Appearance) -> Float[np.ndarray, "n"]:
    """1 behind the hairline of forehead, temples and neck, 0 on the face."""
    degrees = np.degrees(np.arctan2(place.x, place.z - HEAD_AXIS_Z))
    ragged = 0.025 * place.noise(9.0, 89, mirrored=True) + 0.012 * place.noise(30.0, 97, mirrored=True)
    raised = 0.20 * (appearance.hairline_height - 0.5)
    recession = 0.34 * appearance.hairline_recession
    curve = [
        (degree, height + (raised + recession * np.exp(-0.5 * ((degree - 32) / 11) ** 2)) * (degree < 60))
        for degree, height in HAIRLINE
    ]
    # Height over the hairline, made a distance by the line's slope there.
    places = [degree * DM_PER_DEGREE for degree, _ in curve]
    steepness = np.gradient([height for _, height in curve], places)
    slope = np.interp(degrees * DM_PER_DEGREE, places, steepness).astype(np.float32)
    inwards = (place.y - curve_at(degrees, curve)) / np.sqrt(1 + slope**2)
    return smooth_step(inwards + ragged, -0.04, 0.075)
