# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.training.appearance import NAMES, sample_appearance
from backend.training.canonical import HAIR_STYLES, TOPS
from backend.training.dataset import (
    BALD,
    CLAMP_M,
    HAIR_POINTS,
    LONG_STYLES,
    SKIN_POINTS,
    STYLE_WEIGHT,
    TOP_POINTS,
    Dressing,
    body_colors,
    describe,
    hair_distance,
    outer_distance,
    paint,
    sample_dressing,
    sample_training_head,
)
from backend.training.heads import Identity
from tests.small_dataset import HAIR_M, TOP_M, small_canonical
from tests.small_starter import egg_distance

ALL_HAIR = Dressing(0, 0.0, 0.095, -0.3, 0)


@pytest.fixture(scope="module")
def canonical():
    return small_canonical()


def appearance(seed=0):
    return sample_appearance(np.random.default_rng(seed), 0.3, 0.5, ancestry=np.array([0.2, 0.3, 0.5]))


def identity():
    return Identity(0.3, 0.5, np.array([0.2, 0.3, 0.5]), 0.5, 0.5, np.zeros(2), np.zeros(1), np.zeros(1))


def test_a_dressing_is_one_style_one_top_and_three_numbers():
    vector = Dressing(2, 0.004, 0.082, -0.06, 5).to_vector()
    assert len(vector) == len(HAIR_STYLES) + 1 + len(TOPS) + 3
    assert vector[2] == STYLE_WEIGHT and vector[len(HAIR_STYLES) + 1 + 5] == STYLE_WEIGHT
    assert np.count_nonzero(vector[:-3]) == 2
    np.testing.assert_allclose(vector[-3:], [1, 1, 1], atol=1e-6)


def test_where_there_is_no_hair_its_numbers_say_nothing():
    one, other = Dressing(BALD, 0.004, 0.05, -0.2, 1), Dressing(BALD, 0.0, 0.09, -0.1, 1)
    np.testing.assert_array_equal(one.to_vector(), other.to_vector())


def test_a_description_is_appearance_then_dressing():
    z = describe(appearance(), ALL_HAIR)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z[: len(NAMES)], appearance().to_vector())
    np.testing.assert_array_equal(z[len(NAMES) :], ALL_HAIR.to_vector())


def test_hair_and_tops_go_with_the_gender():
    random = np.random.default_rng(0)
    women, men = ([sample_dressing(random, gender) for _ in range(400)] for gender in (0.0, 1.0))

    def share(heads, is_it):
        return np.mean([is_it(head) for head in heads])

    def is_long(head):
        return head.style != BALD and HAIR_STYLES[head.style] in LONG_STYLES

    assert share(women, is_long) > 0.6 > 0.3 > share(men, is_long)
    assert share(men, lambda head: head.style == BALD) > share(women, lambda head: head.style == BALD)
    assert all(TOPS[head.top].startswith("male") for head in men)
    assert {TOPS[head.top].startswith("male") for head in women} == {True, False}


def test_the_same_seed_gives_the_same_head(canonical):
    one, again, other = (sample_training_head(np.random.default_rng(seed), identity(), canonical) for seed in (3, 3, 4))
    for name in ("z", "points", "colors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.colors, other.colors)


def test_points_lie_on_skin_hair_and_top_in_that_order(canonical):
    head = paint(appearance(), ALL_HAIR, canonical, np.random.default_rng(0))
    assert len(head.points) == SKIN_POINTS + HAIR_POINTS + TOP_POINTS and head.skin_points == SKIN_POINTS
    distance = egg_distance(head.points.astype(np.float64))
    assert np.abs(distance[:SKIN_POINTS]).max() < 1e-4
    hair, top = distance[SKIN_POINTS:-TOP_POINTS], distance[-TOP_POINTS:]
    np.testing.assert_allclose([np.median(hair), np.median(top)], [HAIR_M, TOP_M], atol=0.001)
    assert head.colors.dtype == np.uint8


def test_a_bald_head_has_more_skin_instead(canonical):
    head = paint(appearance(), replace(ALL_HAIR, style=BALD), canonical, np.random.default_rng(0))
    assert head.skin_points == SKIN_POINTS + HAIR_POINTS
    assert len(head.points) == SKIN_POINTS + HAIR_POINTS + TOP_POINTS


def test_shade_darkens_the_skin(canonical):
    index = np.arange(200)
    shaded = replace(canonical, body_shade=np.full_like(canonical.body_shade, 0.3))
    light, dark = body_colors(appearance(), canonical, index), body_colors(appearance(), shaded, index)
    np.testing.assert_allclose(dark, light * (1 - 0.45 * 0.7**1.5), rtol=1e-5)


def test_volume_moves_the_hair_outwards(canonical):
    points = canonical.hair_pool[0][canonical.hair_pool[0][:, 2] < -0.03]  # Where no fringe is cut.
    thick = replace(ALL_HAIR, volume_m=0.004)
    gap = hair_distance(ALL_HAIR, canonical, points) - hair_distance(thick, canonical, points)
    np.testing.assert_allclose(gap, 0.004, atol=1e-6)


def test_a_fringe_is_cut_before_the_face_and_nowhere_else(canonical):
    forehead, back = np.array([[0.0, 0.06, 0.09]]), np.array([[0.0, 0.06, -0.09]])
    high, low = replace(ALL_HAIR, fringe_m=0.05), replace(ALL_HAIR, fringe_m=0.095)
    assert hair_distance(low, canonical, forehead) >= 0.034  # 35 mm of window below the hair line.
    assert hair_distance(low, canonical, forehead) > hair_distance(high, canonical, forehead) + 0.01
    assert hair_distance(low, canonical, back) == pytest.approx(hair_distance(high, canonical, back))


def test_hair_ends_at_the_bottom(canonical):
    points = np.array([[0.0, 0.04, -0.095], [0.0, 0.09, -0.06]])
    cut = replace(ALL_HAIR, bottom_m=0.06)
    whole, ended = hair_distance(ALL_HAIR, canonical, points), hair_distance(cut, canonical, points)
    assert ended[0] == pytest.approx(0.02, abs=1e-6) and ended[0] > whole[0]
    assert ended[1] == whole[1]


def test_the_outer_surface_is_the_nearer_of_hair_and_top(canonical):
    random = np.random.default_rng(0)
    points = torch.from_numpy(random.uniform(-0.15, 0.15, (3, 300, 3)).astype(np.float32))
    heads = [ALL_HAIR, replace(ALL_HAIR, style=BALD), replace(ALL_HAIR, style=4, top=2, volume_m=0.003)]
    hair, tops = torch.from_numpy(canonical.hair), torch.from_numpy(canonical.tops)
    found = outer_distance(heads, hair, tops, points)
    for number, head in enumerate(heads):
        place = points[number].numpy().astype(np.float64)
        bare = replace(head, style=BALD)
        top = outer_distance([bare], hair, tops, points[number, None])[0].numpy()
        truth = top if head.style == BALD else np.minimum(top, hair_distance(head, canonical, place))
        np.testing.assert_allclose(found[number].numpy(), np.clip(truth, -CLAMP_M, CLAMP_M), atol=1e-5)
    assert found.abs().max() <= CLAMP_M
