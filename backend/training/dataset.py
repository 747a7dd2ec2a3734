# SPDX-License-Identifier: Apache-2.0
"""Training heads as coloured points in canonical space, and the outer surface their hair and top make.

A training head is its description ``z`` and, at shared points, colours. No picture is rendered: ground truth exists
in three dimensions (STARTER design, phase A).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor
from torch.nn import functional

from backend.training.appearance import Appearance, sample_appearance
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet
from backend.training.dressing import BALD, Dressing, DressingShapes, sample, sample_dressing
from backend.training.eyes import eye_color
from backend.training.hair import hair_color
from backend.training.heads import Identity
from backend.training.skin import skin_color
from backend.training.tops import top_color

SKIN_POINTS, HAIR_POINTS, TOP_POINTS = 4400, 2000, 1600
SKIN_OFFSET_M = 0.0012  # How far colours are told off the skin, standard deviation.
HIDDEN_M = 0.0005  # What lies deeper below another surface is not seen.
NEAR_M = 0.0025
REACH_M = 0.014  # From how far points are drawn to a surface.
Surface = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrainingHead:
    """One head's description and coloured points of what is seen of it; points and colours go together."""

    z: Float[np.ndarray, "k"]
    appearance: Appearance
    dressing: Dressing
    points: Float16[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]


class Painter:
    """Makes training heads.

    Args:
        canonical: Points and lattices.
    """

    def __init__(self, canonical: CanonicalSet) -> None:
        self.canonical = canonical
        self.shapes = DressingShapes(canonical)
        self._body = torch.from_numpy(canonical.body)[None]

    def sample(self, rng: np.random.Generator, identity: Identity) -> TrainingHead:
        """A random person with the identity's age, gender and ancestry."""
        appearance = sample_appearance(rng, identity.gender, identity.age, ancestry=identity.ancestry)
        return self.paint(appearance, sample_dressing(rng, appearance), rng)

    def paint(self, appearance: Appearance, dressing: Dressing, rng: np.random.Generator) -> TrainingHead:
        """Coloured points on everything that can be seen."""
        bald = dressing.style == BALD
        parts = [self._skin(appearance, dressing, SKIN_POINTS + (HAIR_POINTS if bald else 0), rng)]

        def hair(points: Tensor) -> Tensor:
            return self.shapes.hair_of(dressing, points)

        def top(points: Tensor) -> Tensor:
            return self.shapes.top(dressing, points)

        if not bald:
            points = self._seen(hair, top, self.canonical.hair_pool[dressing.style], HAIR_POINTS, rng)
            parts.append((points, hair_color(appearance, points, HAIR_STYLES[dressing.style])))
        points = self._seen(top, hair, self.canonical.top_pool[dressing.top], TOP_POINTS, rng)
        parts.append((points, top_color(appearance, points, TOPS[dressing.top])))
        colors = np.concatenate([part[1] for part in parts])
        return TrainingHead(
            describe(appearance, dressing),
            appearance,
            dressing,
            np.concatenate([part[0] for part in parts]).astype(np.float16),
            np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8),
        )

    def _skin(
        self, appearance: Appearance, dressing: Dressing, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points a little off the skin, where it is bare, with the colours of the skin below them."""
        index = rng.choice(len(self.canonical.body_points), 3 * count)
        outer = self.shapes.outer([dressing], torch.from_numpy(self.canonical.body_points[index])[None])[0]
        index = index[outer.numpy() > -HIDDEN_M]
        index = index[:count] if len(index) >= count else rng.choice(index, count)
        offset = rng.normal(0, SKIN_OFFSET_M, (count, 1)) * self.canonical.body_normals[index]
        return self.canonical.body_points[index] + offset, body_colors(appearance, self.canonical, index)

    def _seen(
        self, surface: Surface, other: Surface, pool: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Points near a surface, where it is neither below the other one nor in the body."""
        points = torch.from_numpy(pool[rng.choice(len(pool), 3 * count)])
        for _ in range(2):
            points.requires_grad_(True)
            distance = surface(points)
            (slope,) = torch.autograd.grad(distance.sum(), points)
            steepness = slope.square().sum(1, keepdim=True).clamp(min=0.25)
            points = (points - distance.clamp(-REACH_M, REACH_M)[:, None] * slope / steepness).detach()
        offset = torch.from_numpy(rng.normal(0, SKIN_OFFSET_M, (len(points), 1))).float()
        points = points + offset * functional.normalize(slope, dim=1)
        body = sample(self._body, points)[0]
        seen = (surface(points).abs() < NEAR_M) & (other(points) > -HIDDEN_M) & (body > -HIDDEN_M)
        found = points[seen].numpy()
        return found[rng.choice(len(found), count)] if len(found) else pool[rng.choice(len(pool), count)]


def describe(appearance: Appearance, dressing: Dressing) -> Float[np.ndarray, "k"]:
    """The generator's ``z``."""
    return np.concatenate([appearance.to_vector(), dressing.to_vector()])


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
