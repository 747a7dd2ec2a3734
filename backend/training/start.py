# SPDX-License-Identifier: Apache-2.0
"""The generator before its first training step: it knows every colour of a described head, but not where it goes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from backend.generator.starter import StarterConfig, StarterGenerator
from backend.training.appearance import NAMES, Appearance
from backend.training.canonical import TOPS
from backend.training.dataset import TrainingHead
from backend.training.dressing import BALD
from backend.training.prepare import FACE_HIGH, FACE_LOW, Prepared

RIDGE = 1e-5
BASIS_SHARE = 0.4  # Of the numbers that describe a dressing: 1 for the style that is worn.
EYE_WHITE, NEARLY_BLACK = np.array([0.83, 0.80, 0.775]), np.full(3, 0.05)
FLUSHED, SHADED = np.array([1.0, 0.8, 0.8]), np.array([0.66, 0.56, 0.54])


def new_generator(
    prepared: Prepared, heads: Sequence[TrainingHead], config: StarterConfig, seed: int
) -> StarterGenerator:
    """A generator over the prepared body, with the size of the heads' descriptions for ``z_dim``."""
    torch.manual_seed(seed)
    generator = StarterGenerator(
        replace(
            config,
            z_dim=len(heads[0].z),
            basis=len(heads[0].z) - len(NAMES),
            choices=((len(NAMES), BALD + 1), (len(NAMES) + BALD + 1, len(TOPS))),
            parts=len(part_colors(heads[0].appearance)),
        ),
        body=torch.from_numpy(prepared.body_lattice),
        face=torch.from_numpy(prepared.face_lattice),
        face_box=torch.tensor(np.stack([FACE_LOW, FACE_HIGH]), dtype=torch.float32),
    )
    start_palette(generator, heads)
    start_basis(generator)
    return generator


@torch.no_grad()
def start_basis(generator: StarterGenerator) -> None:
    """Every number of the dressing has a plane of its own, so that what a style looks like is learnt apart from others.

    The planes themselves start at nothing.
    """
    layer = generator.basis_weights
    weight = torch.zeros(layer.weight.shape)
    for row in range(len(weight)):
        weight[row, len(NAMES) + row] = BASIS_SHARE * math.sqrt(weight.shape[1])
    layer.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})


@torch.no_grad()
def start_palette(generator: StarterGenerator, heads: Sequence[TrainingHead]) -> None:
    """Set the palette in closed form: ``part_colors`` as a linear function of the description, which ``w`` holds."""
    z = torch.from_numpy(np.stack([head.z for head in heads])).double()
    features = torch.cat([z, torch.ones(len(z), 1)], dim=1)
    colors = torch.from_numpy(np.stack([part_colors(head.appearance) for head in heads])).flatten(1)
    ridge = RIDGE * len(z) * torch.eye(features.shape[1])
    solution = torch.linalg.solve(features.T @ features + ridge, features.T @ colors).T
    weight = torch.zeros(generator.palette.weight.shape)
    weight[:, : z.shape[1]] = solution[:, :-1] * math.sqrt(weight.shape[1])
    generator.palette.load_state_dict({"weight": weight, "bias": solution[:, -1]})


def part_colors(appearance: Appearance) -> Float[np.ndarray, "p 3"]:
    """The colours that a person's points are mixed of, sRGB; they follow linearly from the description."""
    skin, lip, hair = appearance.skin_base, appearance.lip_base, appearance.hair_base
    top, second = np.array(appearance.top_color), np.array(appearance.top_second_color)
    rows = [skin, skin * FLUSHED, skin * SHADED, lip, 0.6 * lip, 0.6 * hair, hair, 1.3 * hair, 0.4 * hair]
    rows += [np.array(appearance.iris_color), top, 0.7 * top, second, 0.7 * second, EYE_WHITE, NEARLY_BLACK]
    return np.stack(rows)
