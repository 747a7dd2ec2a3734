# SPDX-License-Identifier: Apache-2.0
"""Hair style and top of a head: how they vary, the numbers that describe them, and the surface they make.

A style is a solid on a lattice. A head blends two of them and pushes the surface out, lifts the crown, draws a parting,
raises locks or curls, cuts a fringe and an end; every cut thins out towards its edge, as hair does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.training.appearance import Appearance
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet
from backend.training.solid import SIDE

BALD = len(HAIR_STYLES)
LONG_STYLES = ("bob01", "bob02", "long01", "ponytail01", "braid01")
# Styles that may be mixed: they grow in the same places, and their strands run the same way.
FAMILIES = (("short01", "short02", "short03", "short04"),)
FULL_FRINGE_M, NO_FRINGE_M = 0.050, 0.095
UNCUT_M = -0.3
STYLE_WEIGHT = 2.5  # Of the style's numbers in z: hair changes the picture more than any other number.
CLAMP_M = 0.02
TOP_LIFT_M = 0.0025  # Clothes lie a little off the skin.
# How far hair is sunk at the edge of a cut; hair that hangs down further than ``NECK_M`` is a thin sheet at its end.
THINNED_M, THINNED_SHEET_M, NECK_M = 0.016, 0.004, -0.058
PARTING_M = 0.007  # Half width of the groove.
NAPE_M = 0.010
# Number of a Dressing: centre and spread, by which z holds it.
_SCALES = {
    "crown_m": (0.003, 0.004),
    "locks_m": (0.0012, 0.001),
    "curls_m": (0.0008, 0.0012),
    "parting_x_m": (0.0, 0.025),
    "parting_m": (0.002, 0.002),
    "fringe_slope": (0.0, 0.25),
    "fringe_arch_m": (0.006, 0.010),
    "softness_m": (0.014, 0.006),
    "volume_m": (0.004, 0.0035),
    "fringe_m": (0.075, 0.012),
    "bottom_m": (-0.12, 0.06),
}
MOSTLY_BARE = 0.5  # A scalp that grows less has no hair to be styled.


@dataclass(frozen=True)
class Dressing:
    """Hair style and top of a head; lengths in metres, heights in the canonical frame.

    Args:
        style: Index into ``HAIR_STYLES``; ``BALD`` for none.
        volume_m: How far the hair's surface is moved outwards.
        fringe_m: Height above which hair may cover the forehead.
        bottom_m: Height at which the hair is cut.
        top: Index into ``TOPS``.
        other_style: Mixed in.
        blend: Its share.
        crown_m: Further outwards on top of the head.
        locks_m: Height of locks along the hair.
        curls_m: Height of curls.
        parting_x_m: Where the parting runs, from the middle towards the subject's left.
        parting_m: Depth of the parting.
        fringe_slope: By how much a fringe is higher towards the subject's left, per metre.
        fringe_arch_m: By how much it is higher in the middle.
        softness_m: Over what distance hair thins out towards a cut.
    """

    style: int
    volume_m: float
    fringe_m: float
    bottom_m: float
    top: int
    other_style: int = 0
    blend: float = 0.0
    crown_m: float = 0.0
    locks_m: float = 0.0
    curls_m: float = 0.0
    parting_x_m: float = 0.0
    parting_m: float = 0.0
    fringe_slope: float = 0.0
    fringe_arch_m: float = 0.0
    softness_m: float = 0.006

    def to_vector(self) -> Float[np.ndarray, "k"]:
        """The numbers for ``z``: styles, tops, then those of ``_SCALES``; the last are 0 without hair."""
        style, top = np.zeros(len(HAIR_STYLES) + 1), np.zeros(len(TOPS))
        style[self.style] += 1 - self.blend
        style[self.other_style] += self.blend
        top[self.top] = 1
        numbers = [(getattr(self, name) - centre) / spread for name, (centre, spread) in _SCALES.items()]
        has_hair = float(self.style != BALD)
        return np.concatenate([STYLE_WEIGHT * style, STYLE_WEIGHT * top, has_hair * np.array(numbers)]).astype(
            np.float32
        )


def sample_dressing(rng: np.random.Generator, appearance: Appearance) -> Dressing:
    """Random hair and top that go with a person; a scalp that grows little has none, and some are shaved."""
    male = rng.random() < appearance.gender
    tops = [name for name in TOPS if name.startswith("male") or not male]
    top = TOPS.index(str(rng.choice(tops)))
    if appearance.scalp_hair < MOSTLY_BARE or rng.random() < (0.10 if male else 0.03):
        return Dressing(BALD, 0.0, NO_FRINGE_M, UNCUT_M, top)
    is_long = rng.random() < (0.12 if male else 0.75)
    name = str(rng.choice([name for name in HAIR_STYLES if (name in LONG_STYLES) == is_long]))
    family = next((family for family in FAMILIES if name in family), (name,))
    blended = len(family) > 1 and rng.random() < 0.6
    other = str(rng.choice([one for one in family if one != name])) if blended else name
    tight = name in ("ponytail01", "braid01")
    short_end = rng.uniform(-0.055, -0.015)
    long_end = UNCUT_M if rng.random() < 0.5 else rng.uniform(-0.17, -0.065)
    return Dressing(
        style=HAIR_STYLES.index(name),
        volume_m=float(rng.uniform(0.0, 0.004 if tight else 0.008)),
        fringe_m=float(rng.uniform(FULL_FRINGE_M, NO_FRINGE_M)),
        bottom_m=float(long_end if is_long else short_end),
        top=top,
        other_style=HAIR_STYLES.index(other),
        blend=float(rng.uniform(0.0, 0.5)) if blended else 0.0,
        crown_m=float(rng.uniform(-0.002, 0.004 if tight else 0.010)),
        locks_m=float(rng.uniform(0.0, 0.003)),
        curls_m=float(max(0.0, rng.uniform(-0.004, 0.004))),
        parting_x_m=float(np.clip(rng.normal(0, 0.025), -0.045, 0.045)),
        parting_m=float(max(0.0, rng.uniform(-0.003, 0.006))),
        fringe_slope=float(np.clip(rng.normal(0, 0.25), -0.5, 0.5)),
        fringe_arch_m=float(rng.uniform(-0.006, 0.022)),
        softness_m=float(rng.uniform(0.005, 0.022)),
    )


class DressingShapes:
    """Hair and tops as signed distances on a device.

    Args:
        canonical: Lattices.
        device: Where distances are computed.
    """

    def __init__(self, canonical: CanonicalSet, device: torch.device | str = "cpu") -> None:
        self.hair = torch.from_numpy(canonical.hair).to(device).float()
        self.tops = torch.from_numpy(canonical.tops).to(device).float()
        self.noise = torch.from_numpy(canonical.noise).to(device).float()

    def outer(self, heads: Sequence[Dressing], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n"]:
        """Signed distance of hair and top together, metres, for each head's own points; cut off at ``CLAMP_M``."""
        pairs = zip(heads, points, strict=True)
        rows = [torch.minimum(self.top(head, place), self.hair_of(head, place)) for head, place in pairs]
        return torch.stack(rows).clamp(-CLAMP_M, CLAMP_M)

    def top(self, dressing: Dressing, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Signed distance of a head's top, metres."""
        return sample(self.tops[dressing.top, None], points)[0] - TOP_LIFT_M

    def hair_of(self, dressing: Dressing, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Signed distance of a head's hair, metres; far away everywhere where there is none."""
        if dressing.style == BALD:
            return torch.full_like(points[:, 0], 1.0)
        raw = sample(self.hair[dressing.style, None], points)[0]
        if dressing.blend:
            raw = torch.lerp(raw, sample(self.hair[dressing.other_style, None], points)[0], dressing.blend)
        return _cut(raw - self._grown(dressing, points), points, dressing)

    def _grown(self, dressing: Dressing, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """How far the surface is moved outwards."""
        x, y, z = points.unbind(-1)
        high = _smooth_step(y, 0.03, 0.12)
        locks, curls = sample(self.noise, points)
        groove = torch.exp(-0.5 * ((x - dressing.parting_x_m) / PARTING_M) ** 2)
        groove = groove * _smooth_step(y, 0.085, 0.115) * _smooth_step(z, -0.06, -0.01)
        return (
            dressing.volume_m
            + dressing.crown_m * high
            + dressing.locks_m * locks
            + dressing.curls_m * curls
            - dressing.parting_m * groove
        )


def hair_distance(
    dressing: Dressing, canonical: CanonicalSet, points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n"]:
    """Signed distance of a head's hair, metres."""
    return DressingShapes(canonical).hair_of(dressing, torch.from_numpy(points).float()).numpy()


def _cut(grown: Float[Tensor, "n"], points: Float[Tensor, "n 3"], dressing: Dressing) -> Float[Tensor, "n"]:
    """Take the window before the face and what hangs below the bottom out of the hair, thinned towards the edges."""
    x, y, z = points.unbind(-1)
    azimuth = torch.atan2(x, z - 0.01).abs() / torch.pi
    middle = torch.exp(-0.5 * (x / 0.03) ** 2)
    edge = dressing.fringe_m + dressing.fringe_slope * x + dressing.fringe_arch_m * middle
    edge = edge - 0.9 * (azimuth - 0.20).clamp(min=0)
    above_edge = torch.maximum(y - edge, 0.25 * (azimuth - 0.36))
    # At the nape hair reaches lower in the middle, and thins out over a longer way than over the forehead.
    above_bottom = y - dressing.bottom_m + NAPE_M * middle
    end_m = THINNED_M if dressing.bottom_m > NECK_M else THINNED_SHEET_M
    cuts = ((above_edge, THINNED_M, dressing.softness_m), (above_bottom, end_m, 2 * dressing.softness_m))
    for inside, thinned_m, softness in cuts:
        grown = torch.maximum(grown + thinned_m * (1 - inside / softness).clamp(0, 1) ** 2, -inside)
    return grown


def sample(lattices: Float[Tensor, "k r r r"], points: Float[Tensor, "n 3"]) -> Float[Tensor, "k n"]:
    """Trilinear values of lattices over the canonical cube."""
    # grid_sample runs its first coordinate along the last axis.
    volume = lattices.permute(0, 3, 2, 1)[None]
    grid = (points * (2 / SIDE))[None, None, None]
    values = functional.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return values.reshape(len(lattices), -1)


def _smooth_step(value: Float[Tensor, "n"], low: float, high: float) -> Float[Tensor, "n"]:
    share = ((value - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)
