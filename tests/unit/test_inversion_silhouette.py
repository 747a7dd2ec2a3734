# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch

from backend.generator.plane_generator import Images
from backend.inversion.silhouette import BEHIND, picture_silhouette
from tests.small_planes import DISTANCE, portrait_of, small_model

SIZE = 32


@pytest.fixture(scope="module")
def portrait():
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 8:24, 8:24] = 1
    return replace(portrait_of(small_model()), mask=mask)


def picture(opacity, depth):
    blank = torch.zeros(1, 3, SIZE, SIZE)
    return Images(blank, blank, depth, opacity)


def cost(portrait, *, opacity=0.0, depth=5.0, is_matte=True):
    maps = (torch.as_tensor(value).expand(1, 1, SIZE, SIZE) for value in (opacity, depth))
    return picture_silhouette(picture(*maps), portrait, opacity_is_matte=is_matte, side=1.0).item()


INNER, OUTER = 14**2, 18**2  # The mask without its outermost pixels, and with one more around it.


def test_a_head_that_fills_its_matte_costs_nothing(portrait):
    assert cost(portrait, opacity=portrait.mask) == 0


def test_haze_outside_costs_its_share_of_the_picture(portrait):
    assert cost(portrait, opacity=1.0) == pytest.approx((SIZE**2 - OUTER) / SIZE**2)


def test_a_hole_inside_costs_its_share_of_the_picture(portrait):
    assert cost(portrait, opacity=0.0) == pytest.approx(INNER / SIZE**2)


def test_nothing_is_asked_at_the_mattes_edge(portrait):
    hair = portrait.mask.clone()
    hair[..., 7, 8:24], hair[..., 8, 8:24] = 0.4, 0.7
    assert cost(portrait, opacity=hair) == 0


def test_where_the_photo_ends_nothing_is_asked(portrait):
    unknown = replace(portrait, trust=torch.zeros_like(portrait.trust))
    assert cost(unknown, opacity=1.0) == 0


def test_a_background_in_the_volume_belongs_behind_the_head(portrait):
    behind = DISTANCE + BEHIND
    assert cost(portrait, opacity=1.0, depth=behind + 0.1, is_matte=False) == 0
    near = cost(portrait, opacity=1.0, depth=behind - 0.2, is_matte=False)
    assert near == pytest.approx(0.2 * (SIZE**2 - 18**2) / SIZE**2, rel=1e-4)
