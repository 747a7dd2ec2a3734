# SPDX-License-Identifier: Apache-2.0
"""Training heads as coloured points in canonical space, and the outer surface their hair and top make.

A training head is its description ``z`` and, at shared points, colours. No picture is rendered: ground truth exists
in three dimensions (STARTER design, phase A).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from backend.training.appearance import Appearance, sample_appearance
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet, sample_lattice
from backend.training.eyes import eye_color
from backend.training.hair import hair_color
from backend.training.heads import Identity
from backend.training.skin import skin_color
from backend.training.solid import SIDE
from backend.training.tops import top_color

SKIN_POINTS, HAIR_POINTS, TOP_POINTS = 4500, 1200, 700
BALD = len(HAIR_STYLES)
LONG_STYLES = ("bob01", "bob02", "long01", "ponytail01", "braid01")
FULL_FRINGE_M, NO_FRINGE_M = 0.050, 0.095
STYLE_WEIGHT = 2.5  # Of the style's numbers in z: hair changes the picture more than any other number.
HAIRY_SCALP = 0.85
HIDDEN_M = 0.0005
CLAMP_M = 0.02


@dataclass(frozen=True)
class Dressing:
    """Hair style and top of a head.

    Args:
        style: Index into ``HAIR_STYLES``; ``BALD`` for none.
        volume_m: How far the hair's surface is moved outwards, metres.
        fringe_m: Height above which hair may cover the forehead, canonical y in metres.
        bottom_m: Height at which the hair is cut, canonical y in metres.
        top: Index into ``TOPS``.
    """

    style: int
    volume_m: float
    fringe_m: float
    bottom_m: float
    top: int

    def to_vector(self) -> Float[np.ndarray, "k"]:
        """The numbers for ``z``."""
        style, top = np.zeros(len(HAIR_STYLES) + 1), np.zeros(len(TOPS))
        style[self.style], top[self.top] = STYLE_WEIGHT, STYLE_WEIGHT
        has_hair = float(self.style != BALD)
        numbers = [self.volume_m / 0.004, (self.fringe_m - 0.07) / 0.012, (self.bottom_m + 0.12) / 0.06]
        return np.concatenate([style, top, has_hair * np.array(numbers)]).astype(np.float32)


def sample_dressing(rng: np.random.Generator, gender: float) -> Dressing:
    """Random hair and top that go with a gender."""
    male = rng.random() < gender
    long_share = 0.12 if male else 0.75
    is_long = rng.random() < long_share
    names = [name for name in HAIR_STYLES if (name in LONG_STYLES) == is_long]
    style = BALD if rng.random() < (0.12 if male else 0.02) else HAIR_STYLES.index(str(rng.choice(names)))
    tops = [name for name in TOPS if name.startswith("male") or not male]
    return Dressing(
        style=style,
        volume_m=float(rng.uniform(-0.003, 0.010)),
        fringe_m=float(rng.uniform(FULL_FRINGE_M, NO_FRINGE_M)),
        bottom_m=float(rng.choice([-0.3, rng.uniform(-0.2, -0.04)])),
        top=TOPS.index(str(rng.choice(tops))),
    )


@dataclass(frozen=True)
class TrainingHead:
    """One head's description and coloured points; rows of the arrays go together, the skin comes first."""

    z: Float[np.ndarray, "k"]
    dressing: Dressing
    points: Float[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    skin_points: int


def describe(appearance: Appearance, dressing: Dressing) -> Float[np.ndarray, "k"]:
    """The generator's ``z``."""
    return np.concatenate([appearance.to_vector(), dressing.to_vector()])


def sample_training_head(rng: np.random.Generator, identity: Identity, canonical: CanonicalSet) -> TrainingHead:
    """A random person with the identity's age, gender and ancestry."""
    appearance = sample_appearance(rng, identity.gender, identity.age, ancestry=identity.ancestry)
    dressing = sample_dressing(rng, identity.gender)
    if dressing.style != BALD:  # Hair parts and ends over hair, not over bare skin.
        appearance = replace(appearance, scalp_hair=max(appearance.scalp_hair, HAIRY_SCALP))
    return paint(appearance, dressing, canonical, rng)


def paint(
    appearance: Appearance, dressing: Dressing, canonical: CanonicalSet, rng: np.random.Generator
) -> TrainingHead:
    """Coloured points on everything that can be seen."""
    bald = dressing.style == BALD
    parts = [_skin(appearance, canonical, SKIN_POINTS + (HAIR_POINTS if bald else 0), rng)]
    if not bald:
        pool = canonical.hair_pool[dressing.style]
        points = _near_surface(hair_distance(dressing, canonical, pool), pool, HAIR_POINTS, rng)
        parts.append((points, hair_color(appearance, points, HAIR_STYLES[dressing.style])))
    pool = canonical.top_pool[dressing.top]
    distance = sample_lattice(canonical.tops[dressing.top].astype(np.float32), pool)
    points = _near_surface(distance, pool, TOP_POINTS, rng)
    parts.append((points, top_color(appearance, points, TOPS[dressing.top])))
    points = np.concatenate([part[0] for part in parts]).astype(np.float32)
    colors = np.concatenate([part[1] for part in parts])
    in_bytes = np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    return TrainingHead(describe(appearance, dressing), dressing, points, in_bytes, len(parts[0][0]))


def body_colors(appearance: Appearance, canonical: CanonicalSet, index: np.ndarray) -> Float[np.ndarray, "n 3"]:
    """sRGB of chosen body points, with ambient shade."""
    base = canonical.body_base[index]
    masks = {str(name): canonical.body_masks[index, k] for k, name in enumerate(canonical.mask_names)}
    colors = skin_color(appearance, base, masks)
    on_eye = canonical.body_is_eye[index]
    if on_eye.any():
        colors[on_eye] = eye_color(appearance, base[on_eye])
    shade = 1 - 0.45 * (1 - canonical.body_shade[index]) ** 1.5
    return colors * shade[:, None]


def hair_distance(
    dressing: Dressing, canonical: CanonicalSet, points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n"]:
    """Signed distance of a head's hair, metres; the fringe and the ends are cut away."""
    raw = sample_lattice(canonical.hair[dressing.style].astype(np.float32), points) - dressing.volume_m
    return _cut(raw, points, dressing)


def outer_distance(
    heads: Sequence[Dressing], canonical_hair: Float[Tensor, "h r r r"], canonical_tops: Float[Tensor, "t r r r"],
    points: Float[Tensor, "b n 3"],
) -> Float[Tensor, "b n"]:  # fmt: skip
    """Signed distance of hair and top together, metres, for each head's own points."""
    result = []
    for head, place in zip(heads, points, strict=True):
        distance = _torch_lattice(canonical_tops[head.top], place)
        if head.style != BALD:
            raw = _torch_lattice(canonical_hair[head.style], place) - head.volume_m
            cut = _cut(raw.numpy(), place.numpy(), head)
            distance = torch.minimum(distance, torch.from_numpy(cut))
        result.append(distance)
    return torch.stack(result).clamp(-CLAMP_M, CLAMP_M)


def _cut(raw: np.ndarray, points: np.ndarray, dressing: Dressing) -> np.ndarray:
    """Take the window before the face and what hangs below the bottom out of the hair."""
    azimuth = np.abs(np.arctan2(points[:, 0], points[:, 2] - 0.01)) / np.pi
    edge = dressing.fringe_m - 0.9 * np.maximum(azimuth - 0.20, 0)
    window = np.maximum(points[:, 1] - edge, 0.25 * (azimuth - 0.36))
    ends = dressing.bottom_m - points[:, 1]
    return np.maximum.reduce([raw, -window, ends]).astype(np.float32)


def _skin(
    appearance: Appearance, canonical: CanonicalSet, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    index = rng.choice(len(canonical.body_points), count, replace=False)
    return canonical.body_points[index], body_colors(appearance, canonical, index)


def _near_surface(distance: np.ndarray, pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    near = np.flatnonzero(np.abs(distance) < 0.003)
    return pool[rng.choice(near if len(near) else np.arange(len(pool)), count)]


def _torch_lattice(lattice: Float[Tensor, "r r r"], points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    grid = (points * (2 / SIDE))[None, None, None]
    volume = lattice.permute(2, 1, 0)[None, None].float()
    return functional.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True).reshape(-1)
