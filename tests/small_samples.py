# SPDX-License-Identifier: Apache-2.0
"""A small starter whose landmarks crop it as a face's do, and samples of it."""

from dataclasses import replace

import numpy as np
import torch

from backend import face_mesh_points as points
from backend.training.e3dge_head import ShapeSpace
from backend.training.e3dge_samples import SamplePlan, make_samples
from backend.training.encoder import encoder_config
from tests.small_starter import AXES, front_points, small_starter

SIZE = 24
PLACES = {
    points.FOREHEAD_TOP: (0, 0.7), points.CHIN: (0, -0.8), points.RIGHT_CHEEK: (-0.8, 0), points.LEFT_CHEEK: (0.8, 0),
    points.RIGHT_EYE_OUTER: (-0.5, 0.2), points.LEFT_EYE_OUTER: (0.5, 0.2),
}  # fmt: skip


def face_starter():
    """Its candidates are many enough to be mixed."""
    landmarks = front_points(points.COUNT)
    for number, place in PLACES.items():
        x, y = np.array(place) * AXES[:2]
        landmarks[number] = x, y, AXES[2] * np.sqrt(1 - (x / AXES[0]) ** 2 - (y / AXES[1]) ** 2)
    return small_starter(landmarks)


def space_of(starter):
    return ShapeSpace(starter.template, starter.generator.config.side, torch.device("cpu"))


def samples_of(starter, space, folder, *, heads=3, views=2):
    return make_samples(starter, space, SamplePlan(heads, views, SIZE, seed=5), folder)


def small_sizes(starter):
    return replace(encoder_config(starter, SIZE), channels=(16, 24), blocks=(0, 1), hidden=48)
