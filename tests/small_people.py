# SPDX-License-Identifier: Apache-2.0
"""A template with landmarks all over a face and people with known codes, for the tests of sliders."""

import numpy as np

from backend.skeleton import Skeleton
from backend.template import Template
from backend.training.appearance import sample_appearance
from backend.training.dataset import TrainingHead, describe
from backend.training.dressing import Dressing, sample_dressing
from backend.training.heads import Identity
from backend.training.person import Population
from backend.training.sliders import EXPRESSIONS
from tests.small_starter import AXES, front_points

COMPONENTS = 32
PEOPLE = 80


def face_template():
    """Landmarks that move independently of each other: each is a corner of a triangle of its own; a scalp behind."""
    random = np.random.default_rng(0)
    scalp = random.normal(size=(600, 3))
    scalp = np.abs(scalp) * [1, 1, -1] * np.where(random.random((600, 1)) < 0.5, [[1, 1, 1]], [[-1, 1, 1]])
    scalp *= AXES / np.linalg.norm(scalp, axis=1, keepdims=True)
    vertices = np.concatenate([front_points(478 * 3), scalp])
    names = tuple(dict.fromkeys(part for parts in EXPRESSIONS.values() for part in parts))
    count = len(vertices)
    return Template(
        vertices=vertices,
        faces=np.arange(count).reshape(-1, 3),
        mirror=np.arange(count),
        neutral=np.zeros((count, 3)),
        shape=0.002 * random.normal(size=(COMPONENTS, count, 3)),
        expression=0.002 * random.normal(size=(len(names), count, 3)),
        expression_names=names,
        landmark_faces=np.arange(478),
        landmark_weights=random.dirichlet([1.0, 1.0, 1.0], 478),
        landmark_noise=np.full(478, 0.001),
        skeleton=Skeleton(np.array([[0.0, -0.1, 0.0], [0.0, -0.03, 0.0]])),
        joint_shares=np.tile([0.0, 1.0], (count, 1)),
    )


def people():
    """Older heads are wider by the first code, heavier ones by the second."""
    random = np.random.default_rng(1)
    identities, heads, shape = [], [], random.normal(size=(PEOPLE, COMPONENTS))
    for number in range(PEOPLE):
        age, gender, weight = random.uniform(0.4, 1), random.random(), random.random()
        ancestry = random.dirichlet([1.0, 1.0, 1.0])
        identities.append(Identity(gender, age, ancestry, 0.5, weight, np.zeros(1), np.zeros(1), np.zeros(1)))
        shape[number, :2] = 5 * (age - 0.7), 4 * (weight - 0.5)
        appearance = sample_appearance(random, gender, age, ancestry=ancestry)
        z = describe(appearance, sample_dressing(random, appearance))
        points, colors = np.zeros((1, 3), np.float16), np.zeros((1, 3), np.uint8)
        heads.append(TrainingHead(z, appearance, Dressing(0, 0.0, 0.09, -0.3, 0), points, colors))
    return Population(identities, shape, heads)
