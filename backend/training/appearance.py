# SPDX-License-Identifier: Apache-2.0
"""All numbers that decide how a synthetic person is coloured, their joint distribution, and their vector form."""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from backend.training.paint import ramp

Color = tuple[float, float, float]
BeardStyle = Literal["none", "full", "goatee", "moustache", "stubble"]
TopPattern = Literal["plain", "stripes", "check"]

# Share of a beard style on lip, chin and cheeks.
BEARD_REGIONS: dict[BeardStyle, Color] = {
    "none": (0.0, 0.0, 0.0),
    "full": (1.0, 1.0, 1.0),
    "goatee": (1.0, 1.0, 0.05),
    "moustache": (1.0, 0.08, 0.05),
    "stubble": (0.75, 0.85, 0.8),
}
SKIN = (
    (0.0, (0.955, 0.815, 0.745)),
    (0.2, (0.905, 0.735, 0.640)),
    (0.35, (0.830, 0.640, 0.520)),
    (0.5, (0.715, 0.520, 0.395)),
    (0.65, (0.575, 0.395, 0.290)),
    (0.8, (0.425, 0.280, 0.205)),
    (1.0, (0.275, 0.180, 0.140)),
)
HAIR = (
    (0.0, (0.855, 0.765, 0.580)),
    (0.2, (0.700, 0.560, 0.365)),
    (0.4, (0.500, 0.360, 0.225)),
    (0.6, (0.330, 0.220, 0.145)),
    (0.8, (0.190, 0.130, 0.095)),
    (1.0, (0.105, 0.088, 0.082)),
)
RED_HAIR = (
    (0.0, (0.83, 0.52, 0.30)),
    (0.5, (0.56, 0.25, 0.11)),
    (1.0, (0.18, 0.08, 0.06)),
)
GREY_HAIR = (0.70, 0.69, 0.675)
IRIS = (
    (0.0, (0.42, 0.53, 0.63)),
    (0.25, (0.46, 0.51, 0.51)),
    (0.45, (0.41, 0.41, 0.28)),
    (0.65, (0.42, 0.30, 0.17)),
    (0.85, (0.31, 0.18, 0.09)),
    (1.0, (0.19, 0.11, 0.07)),
)


@dataclass(frozen=True)
class Appearance:
    """How one person is coloured. Numbers run from 0 to 1 and colours are sRGB in [0, 1] unless said otherwise.

    Args:
        age: 0.1875 is a child, 0.5 young, 1 old.
        gender: 0 female to 1 male.
        melanin: Of the skin; 0 very light, 1 very dark.
        tone: Skin lightness, yellowness and redness around what melanin gives, standard deviations.
        ruddiness: Blood in cheeks, nose and ears.
        freckles: Strength.
        moles: Share of the possible moles that show.
        eye_shadow: Darkness of the sockets and bags under the eyes.
        lash_darkness: Strength of the lash lines.
        eye_makeup: Strength of make-up on the upper lids.
        lip_color: Natural darkness and redness of the lips, standard deviations.
        lipstick: Strength.
        lipstick_color: Of the lipstick.
        brow_thickness: From a line to bushy.
        brow_density: From sparse to solid.
        brow_arch: From straight to curved.
        brow_length: Of the tail.
        brow_darkness: Against the hair's colour.
        iris_color: Mean colour.
        iris_size: Standard deviations around 11.6 mm.
        beard_style: Where the beard grows.
        beard_amount: Density.
        beard_length: From stubble to a trimmed full beard; colour only.
        hair_melanin: 0 platinum, 1 black.
        hair_red: 0 none, 1 red.
        hair_grey: Share of grey hair.
        strand_contrast: Difference between strands.
        hair_roots: Darker at the roots.
        hair_tips: Lighter ends and locks.
        scalp_hair: Density of hair on the scalp itself; 0 shows bare skin.
        hairline_height: Of the forehead.
        hairline_recession: At the temples.
        top_color: Main colour of the garment.
        top_second_color: Of collar, lapels, shirt below, and pattern.
        top_pattern: On the garment's main cloth.
    """

    age: float
    gender: float
    melanin: float
    tone: tuple[float, float, float]
    ruddiness: float
    freckles: float
    moles: float
    eye_shadow: float
    lash_darkness: float
    eye_makeup: float
    lip_color: tuple[float, float]
    lipstick: float
    lipstick_color: Color
    brow_thickness: float
    brow_density: float
    brow_arch: float
    brow_length: float
    brow_darkness: float
    iris_color: Color
    iris_size: float
    beard_style: BeardStyle
    beard_amount: float
    beard_length: float
    hair_melanin: float
    hair_red: float
    hair_grey: float
    strand_contrast: float
    hair_roots: float
    hair_tips: float
    scalp_hair: float
    hairline_height: float
    hairline_recession: float
    top_color: Color
    top_second_color: Color
    top_pattern: TopPattern

    @property
    def wrinkles(self) -> float:
        """Strength of wrinkles, which age alone decides."""
        return float(np.clip((self.age - 0.52) / 0.4, 0.0, 1.0))

    @property
    def skin_base(self) -> Float[np.ndarray, "3"]:
        """Colour of plain skin."""
        lightness, yellowness, redness = self.tone
        factor = 1 + 0.03 * lightness + 0.011 * np.array([redness, 0.4 * yellowness - redness, -2.2 * yellowness])
        return np.clip(ramp(self.melanin, SKIN) * factor, 0.02, 0.98)

    @property
    def hair_base(self) -> Float[np.ndarray, "3"]:
        """Mean colour of the hair."""
        red = self.hair_red * (1 - 0.6 * self.hair_melanin)
        color = ramp(self.hair_melanin, HAIR) * (1 - red) + ramp(self.hair_melanin, RED_HAIR) * red
        return color * (1 - self.hair_grey) + np.array(GREY_HAIR) * self.hair_grey

    @property
    def lip_base(self) -> Float[np.ndarray, "3"]:
        """Mean colour of the lips."""
        darkness, redness = self.lip_color
        pale, dark = np.array([0.87, 0.67, 0.73]), np.array([0.92, 0.77, 0.83])
        natural = self.skin_base * (pale + (dark - pale) * self.melanin)
        natural = natural * (1 - 0.05 * darkness) * (1 + redness * np.array([0.02, -0.05, -0.03]))
        cover = 0.85 * self.lipstick
        return np.clip(natural * (1 - cover) + np.array(self.lipstick_color) * cover, 0.02, 0.98)

    @property
    def beard_mass(self) -> float:
        """Length of the beard where there is one."""
        return self.beard_length * float(self.beard_regions.max())

    @property
    def beard_regions(self) -> Float[np.ndarray, "3"]:
        """Beard density on lip, chin and cheeks."""
        return self.beard_amount * np.array(BEARD_REGIONS[self.beard_style])

    def to_vector(self) -> Float[np.ndarray, "k"]:
        """The numbers in the order of ``NAMES``: centred, about unit-sized, times their ``IMPORTANCE``."""
        return ((_raw_vector(self) - _CENTRE) / _SPREAD * IMPORTANCE).astype(np.float32)


def _raw_vector(appearance: Appearance) -> Float[np.ndarray, "k"]:
    values: list[float] = []
    for entry in _VECTOR:
        value = getattr(appearance, entry[0])
        values.extend([float(value)] if np.ndim(value) == 0 else [float(part) for part in value])
    values.extend(float(appearance.top_pattern == pattern) for pattern in ("stripes", "check"))
    return np.array(values)


# Attribute, parts, mean, standard deviation, importance. Importance is a judgement of how much of a picture changes:
# skin, hair and cloth colours cover most of it, brows and beard decide the face, moles hardly show.
_VECTOR: tuple[tuple[str, tuple[str, ...], float, float, float], ...] = (
    ("age", ("",), 0.60, 0.17, 0.6),
    ("gender", ("",), 0.50, 0.40, 0.4),
    ("skin_base", ("red", "green", "blue"), 0.60, 0.21, 1.6),
    ("ruddiness", ("",), 0.50, 0.25, 0.4),
    ("freckles", ("",), 0.05, 0.18, 0.3),
    ("moles", ("",), 0.25, 0.25, 0.1),
    ("eye_shadow", ("",), 0.40, 0.22, 0.4),
    ("lash_darkness", ("",), 0.60, 0.22, 0.4),
    ("eye_makeup", ("",), 0.10, 0.20, 0.3),
    ("lip_base", ("red", "green", "blue"), 0.45, 0.17, 0.7),
    ("lipstick", ("",), 0.15, 0.28, 0.3),
    ("brow_thickness", ("",), 0.50, 0.25, 0.5),
    ("brow_density", ("",), 0.55, 0.22, 0.5),
    ("brow_arch", ("",), 0.50, 0.25, 0.4),
    ("brow_length", ("",), 0.50, 0.25, 0.2),
    ("brow_darkness", ("",), 0.50, 0.22, 0.5),
    ("iris_color", ("red", "green", "blue"), 0.25, 0.13, 0.4),
    ("iris_size", ("",), 0.0, 1.0, 0.1),
    ("beard_regions", ("lip", "chin", "cheek"), 0.15, 0.28, 0.7),
    ("beard_mass", ("",), 0.12, 0.25, 0.4),
    ("hair_base", ("red", "green", "blue"), 0.28, 0.19, 1.5),
    ("hair_grey", ("",), 0.10, 0.25, 0.4),
    ("strand_contrast", ("",), 0.45, 0.20, 0.3),
    ("hair_roots", ("",), 0.40, 0.25, 0.2),
    ("hair_tips", ("",), 0.10, 0.22, 0.4),
    ("scalp_hair", ("",), 0.85, 0.28, 0.7),
    ("hairline_height", ("",), 0.50, 0.20, 0.3),
    ("hairline_recession", ("",), 0.25, 0.25, 0.3),
    ("top_color", ("red", "green", "blue"), 0.45, 0.26, 1.2),
    ("top_second_color", ("red", "green", "blue"), 0.50, 0.27, 0.5),
)
NAMES: tuple[str, ...] = (
    *(f"{name}_{part}" if part else name for name, parts, *_ in _VECTOR for part in parts),
    "top_stripes",
    "top_check",
)
_CENTRE = np.array([mean for _, parts, mean, _, _ in _VECTOR for _ in parts] + [0.15, 0.12])
_SPREAD = np.array([spread for _, parts, _, spread, _ in _VECTOR for _ in parts] + [0.36, 0.33])
IMPORTANCE = np.array([weight for *_, parts, _, _, weight in _VECTOR for _ in parts] + [0.5, 0.5])


def sample_appearance(
    rng: np.random.Generator, gender: float, age: float, *, ancestry: Float[np.ndarray, "3"]
) -> Appearance:
    """A random believable colouring; the same generator state gives the same one.

    Args:
        rng: Source of chance.
        gender: 0 female to 1 male.
        age: 0.1875 is a child, 0.5 young, 1 old.
        ancestry: African, Asian and Caucasian weights, sum 1.
    """
    melanin = _clip01(float(ancestry @ [0.80, 0.33, 0.17]) + rng.normal(0, 0.09))
    hair_melanin = _sample_hair_melanin(rng, ancestry)
    iris_place = _sample_iris_place(rng, ancestry, hair_melanin)
    lipstick = float(gender < 0.5 and rng.random() < 0.35) * rng.uniform(0.25, 0.95)
    style, amount, length = _sample_beard(rng, gender, age)
    is_bald = gender > 0.5 and rng.random() < 0.12 + 0.3 * _clip01(age - 0.6)
    first, second, pattern = _sample_top(rng)
    return Appearance(
        age=float(age),
        gender=float(gender),
        melanin=melanin,
        tone=_normals3(rng),
        ruddiness=float(rng.beta(2.2, 2.2)),
        freckles=float(rng.random() < 0.15 and melanin < 0.4) * rng.uniform(0.3, 1.0),
        moles=float(rng.beta(1.0, 3.0)),
        eye_shadow=_clip01(rng.beta(2.0, 3.5) + 0.25 * (age - 0.5)),
        lash_darkness=_clip01(rng.normal(0.72 - 0.24 * gender, 0.15)),
        eye_makeup=float(gender < 0.5 and rng.random() < 0.3) * rng.uniform(0.2, 0.9),
        lip_color=(float(np.clip(rng.normal(), -2, 2)), float(np.clip(rng.normal(), -2, 2))),
        lipstick=lipstick,
        lipstick_color=_sample_lipstick(rng),
        brow_thickness=_clip01(rng.beta(2.5, 2.5) * 0.8 + 0.25 * gender),
        brow_density=_clip01(rng.normal(0.62 - 0.2 * _clip01(age - 0.7), 0.18)),
        brow_arch=_clip01(rng.normal(0.62 - 0.25 * gender, 0.2)),
        brow_length=float(rng.beta(2.5, 2.5)),
        brow_darkness=float(rng.beta(2.5, 2.5)),
        iris_color=_varied(rng, ramp(iris_place, IRIS), 0.05),
        iris_size=float(np.clip(rng.normal(), -2, 2)),
        beard_style=style,
        beard_amount=amount,
        beard_length=length,
        hair_melanin=hair_melanin,
        hair_red=_sample_hair_red(rng, ancestry),
        hair_grey=_sample_grey(rng, age),
        strand_contrast=float(rng.beta(2.5, 3.0)),
        hair_roots=float(rng.beta(2.0, 3.0)),
        hair_tips=float(rng.random() < 0.08 + 0.22 * (1 - gender)) * rng.uniform(0.2, 1.0),
        scalp_hair=float(rng.uniform(0.0, 0.25)) if is_bald else float(rng.uniform(0.85, 1.0)),
        hairline_height=_clip01(rng.normal(0.5, 0.18)),
        hairline_recession=_clip01(gender * (rng.beta(1.5, 3.5) + 0.9 * _clip01(age - 0.55))),
        top_color=first,
        top_second_color=second,
        top_pattern=pattern,
    )


def _clip01(value: float) -> float:
    return float(np.clip(value, 0.0, 1.0))


def _normals3(rng: np.random.Generator) -> tuple[float, float, float]:
    first, second, third = np.clip(rng.normal(0, 1, 3), -2, 2)
    return float(first), float(second), float(third)


def _varied(rng: np.random.Generator, color: Float[np.ndarray, "3"], spread: float) -> Color:
    """A colour near another: lighter or darker, and a little off in hue."""
    red, green, blue = np.clip(color * (1 + rng.normal(0, spread) + rng.normal(0, spread / 2, 3)), 0.02, 0.97)
    return float(red), float(green), float(blue)


def _sample_hair_melanin(rng: np.random.Generator, ancestry: Float[np.ndarray, "3"]) -> float:
    """Near black, unless most ancestors are Caucasian; dyed blond now and then."""
    darkest = 0.97 - 0.85 * rng.beta(1.1, 1.3) * ancestry[2] ** 0.8
    is_dyed = rng.random() < 0.04
    return _clip01((rng.uniform(0.1, 0.5) if is_dyed else darkest) + rng.normal(0, 0.03))


def _sample_hair_red(rng: np.random.Generator, ancestry: Float[np.ndarray, "3"]) -> float:
    if rng.random() < 0.02 + 0.1 * ancestry[2]:
        return float(rng.uniform(0.5, 1.0))
    return float(rng.beta(1.2, 6.0))


def _sample_grey(rng: np.random.Generator, age: float) -> float:
    return _clip01((age - 0.58) * rng.uniform(0.0, 4.5)) if age > 0.58 else 0.0


def _sample_iris_place(rng: np.random.Generator, ancestry: Float[np.ndarray, "3"], hair_melanin: float) -> float:
    """Place on the ``IRIS`` ramp: light eyes go with light hair."""
    lightness = ancestry[2] ** 0.7 * rng.beta(1.0, 1.2) * (1.45 - 0.8 * hair_melanin)
    return _clip01(1.0 - lightness)


def _sample_lipstick(rng: np.random.Generator) -> Color:
    shades = ((0.70, 0.13, 0.17), (0.52, 0.10, 0.18), (0.80, 0.38, 0.42), (0.66, 0.33, 0.28), (0.36, 0.10, 0.16))
    return _varied(rng, np.array(shades[rng.integers(len(shades))]), 0.1)


def _sample_beard(rng: np.random.Generator, gender: float, age: float) -> tuple[BeardStyle, float, float]:
    if gender <= 0.5 or age < 0.4 or rng.random() < 0.45:
        return "none", 0.0, 0.0
    styles: tuple[BeardStyle, ...] = ("full", "goatee", "moustache", "stubble")
    style = styles[rng.choice(4, p=[0.38, 0.18, 0.12, 0.32])]
    if style == "stubble":
        return style, float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.0, 0.2))
    return style, float(rng.uniform(0.55, 1.0)), float(rng.uniform(0.3, 1.0))


def _sample_top(rng: np.random.Generator) -> tuple[Color, Color, TopPattern]:
    first = _sample_cloth_color(rng)
    second = (0.90, 0.90, 0.89) if rng.random() < 0.35 else _sample_cloth_color(rng)
    patterns: tuple[TopPattern, ...] = ("plain", "stripes", "check")
    return first, second, patterns[rng.choice(3, p=[0.78, 0.12, 0.10])]


def _sample_cloth_color(rng: np.random.Generator) -> Color:
    """Mostly muted colours, with black, grey and white as common as in wardrobes."""
    value = rng.uniform(0.10, 0.92)
    saturation = rng.beta(1.3, 2.2) * (0.85 - 0.45 * value) * (rng.random() < 0.7)
    red, green, blue = hsv_to_rgb(rng.random(), saturation, value)
    return red, green, blue
