# SPDX-License-Identifier: Apache-2.0
"""Training heads over an egg: lattices and coloured points that need no assets."""

import numpy as np

from backend.training.appearance import sample_appearance
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet, hair_noise
from backend.training.dataset import SKIN_POINTS, TrainingHead
from backend.training.dressing import BALD, Dressing
from backend.training.masks import MASKS
from backend.training.solid import SIDE
from tests.small_starter import AXES, egg_distance, lattice

HAIR_M, TOP_M = 0.006, 0.004


def cube_lattice(distance, nodes=32):
    return lattice([-SIDE / 2] * 3, [SIDE / 2] * 3, (nodes,) * 3, distance).numpy()


def on_egg(random, count, above_m=0.0):
    direction = random.normal(size=(count, 3))
    surface = direction / np.linalg.norm(direction, axis=1, keepdims=True) * AXES
    return surface + above_m * direction / np.linalg.norm(direction, axis=1, keepdims=True)


def small_canonical():
    """All hair is a shell around the egg's upper half, all tops around its lower."""
    random = np.random.default_rng(0)
    hair = cube_lattice(lambda points: np.maximum(egg_distance(points) - HAIR_M, 0.02 - points[:, 1]))
    top = cube_lattice(lambda points: np.maximum(egg_distance(points) - TOP_M, points[:, 1] + 0.06))
    count = SKIN_POINTS + 2000
    points = on_egg(random, count).astype(np.float32)
    normals = points / AXES**2
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    upper, lower = (on_egg(random, 20000, above).astype(np.float32) for above in (HAIR_M, TOP_M))
    upper, lower = upper[upper[:, 1] > 0.03][:1000], lower[lower[:, 1] < -0.07][:1000]
    return CanonicalSet(
        body_points=points,
        body_normals=normals.astype(np.float32),
        body_base=(points * 10 + np.array([0, 6.98, 0.30])).astype(np.float32),
        body_masks=np.zeros((count, len(MASKS)), np.float32),
        body_is_eye=np.zeros(count, bool),
        body_shade=np.ones(count, np.float32),
        mask_names=np.array(MASKS),
        hair=np.stack([hair] * len(HAIR_STYLES)).astype(np.float16),
        hair_pool=np.stack([upper] * len(HAIR_STYLES)),
        tops=np.stack([top] * len(TOPS)).astype(np.float16),
        top_pool=np.stack([lower] * len(TOPS)),
        noise=hair_noise(32).astype(np.float16),
        body=cube_lattice(egg_distance),
    )


def plain_heads(count, z_dim=5, points=400):
    """Heads whose skin, hair and top have one colour each, told by ``z``."""
    random = np.random.default_rng(1)
    heads = []
    for number in range(count):
        z = random.normal(size=z_dim).astype(np.float32)
        appearance = sample_appearance(random, 0.5, 0.5, ancestry=np.full(3, 1 / 3))
        dressing = Dressing(BALD if number % 3 == 0 else number % 10, 0.0, 0.09, -0.3, number % 10)
        skin = round(points * 0.7)
        places = np.concatenate([on_egg(random, skin), on_egg(random, points - skin, HAIR_M)])
        shades = np.clip(128 + 40 * z[:3], 20, 235)
        colors = np.tile(shades, (points, 1))
        colors[skin:] = 255 - shades
        heads.append(TrainingHead(z, appearance, dressing, places.astype(np.float16), colors.astype(np.uint8)))
    return heads
