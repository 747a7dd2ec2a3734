# SPDX-License-Identifier: Apache-2.0
"""True pictures of eggs, small and quick."""

from functools import cache

import numpy as np

from backend.camera import look_at_camera
from backend.training.true_pictures import Photographer, PicturePlan, TruePicture
from tests.small_dataset import plain_heads, small_canonical
from tests.small_starter import small_generator

PLAN = PicturePlan(heads=3, views=2, size_px=24)
CAMERA = look_at_camera(yaw_deg=30, pitch_deg=-5, distance=1.2, focal=3.0)


@cache
def small_photographer():
    return Photographer(small_generator(bald=False), small_canonical())


@cache
def small_pictures():
    """Views of the first plain heads."""
    return [small_photographer().pictures(head, number, PLAN) for number, head in enumerate(plain_heads(PLAN.heads))]


def plain_picture(color, size=16):
    """The same everywhere, at the distance of the origin; ``color`` may be a whole picture."""
    everywhere = np.ones((size, size), np.uint8)
    colors = np.broadcast_to(np.array(color, np.uint8), (size, size, 3)).copy()
    return TruePicture(colors, np.zeros((size, size), np.float16), everywhere, everywhere, CAMERA)
