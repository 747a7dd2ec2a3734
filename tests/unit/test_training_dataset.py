# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.training.appearance import NAMES, sample_appearance
from backend.training.dataset import (
    HAIR_POINTS,
    NEAR_M,
    SKIN_OFFSET_M,
    SKIN_POINTS,
    TOP_POINTS,
    Painter,
    body_colors,
    describe,
)
from backend.training.dressing import BALD, UNCUT_M, Dressing
from backend.training.heads import Identity
from tests.small_dataset import small_canonical
from tests.small_starter import egg_distance

ALL_HAIR = Dressing(0, 0.0, 0.095, UNCUT_M, 0)


@pytest.fixture(scope="module")
def canonical():
    return small_canonical()


@pytest.fixture(scope="module")
def painter(canonical):
    return Painter(canonical)


def appearance(seed=0):
    return sample_appearance(np.random.default_rng(seed), 0.3, 0.5, ancestry=np.array([0.2, 0.3, 0.5]))


def identity():
    return Identity(0.3, 0.5, np.array([0.2, 0.3, 0.5]), 0.5, 0.5, np.zeros(2), np.zeros(1), np.zeros(1))


def parts(head):
    """Skin, hair and top points of a head with hair."""
    points = torch.from_numpy(head.points.astype(np.float32))
    return points[:SKIN_POINTS], points[SKIN_POINTS:-TOP_POINTS], points[-TOP_POINTS:]


def test_a_description_is_appearance_then_dressing():
    z = describe(appearance(), ALL_HAIR)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z[: len(NAMES)], appearance().to_vector())
    np.testing.assert_array_equal(z[len(NAMES) :], ALL_HAIR.to_vector())


def test_the_same_seed_gives_the_same_head(painter):
    one, again, other = (painter.sample(np.random.default_rng(seed), identity()) for seed in (3, 3, 4))
    for name in ("z", "points", "colors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert one.appearance == again.appearance and one.dressing == again.dressing
    assert not np.array_equal(one.colors, other.colors)


def test_points_lie_near_skin_hair_and_top_in_that_order(painter):
    head = painter.paint(appearance(), ALL_HAIR, np.random.default_rng(0))
    assert len(head.points) == len(head.colors) == SKIN_POINTS + HAIR_POINTS + TOP_POINTS
    skin, hair, top = parts(head)
    assert np.std(egg_distance(skin.double().numpy())) == pytest.approx(SKIN_OFFSET_M, rel=0.1)
    assert painter.shapes.hair_of(ALL_HAIR, hair).abs().max() < NEAR_M + 0.0002
    assert painter.shapes.top(ALL_HAIR, top).abs().max() < NEAR_M + 0.0002
    assert head.colors.dtype == np.uint8 and head.points.dtype == np.float16


def test_nothing_is_shown_that_hair_or_top_covers(painter):
    skin, hair, top = parts(painter.paint(appearance(), ALL_HAIR, np.random.default_rng(0)))
    slack = -0.0005 - 4 * SKIN_OFFSET_M  # Skin points were moved a little after they were chosen.
    assert painter.shapes.outer([ALL_HAIR], skin[None]).min() > slack
    assert painter.shapes.top(ALL_HAIR, hair).min() > -0.0008
    assert painter.shapes.hair_of(ALL_HAIR, top).min() > -0.0008
    assert egg_distance(torch.cat([hair, top]).double().numpy()).min() > -0.003


def test_points_follow_hair_that_stands_off(painter):
    """Pools were made around the styles as they are; points lie on the surface of each head's own hair."""
    thick = replace(ALL_HAIR, volume_m=0.008, crown_m=0.006)
    _, hair, _ = parts(painter.paint(appearance(), thick, np.random.default_rng(0)))
    assert painter.shapes.hair_of(thick, hair).abs().median() < 0.0015
    assert painter.shapes.hair_of(ALL_HAIR, hair).median() > 0.006


def test_a_bald_head_has_more_skin_instead(painter):
    head = painter.paint(appearance(), replace(ALL_HAIR, style=BALD), np.random.default_rng(0))
    points = head.points[: SKIN_POINTS + HAIR_POINTS].astype(np.float64)
    assert len(head.points) == SKIN_POINTS + HAIR_POINTS + TOP_POINTS
    assert np.abs(egg_distance(points)).max() < 6 * SKIN_OFFSET_M


def test_shade_darkens_the_skin(canonical):
    index = np.arange(200)
    shaded = replace(canonical, body_shade=np.full_like(canonical.body_shade, 0.3))
    light, dark = body_colors(appearance(), canonical, index), body_colors(appearance(), shaded, index)
    np.testing.assert_allclose(dark, light * (1 - 0.45 * 0.7**1.5), rtol=1e-5)
