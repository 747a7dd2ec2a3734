# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.training.appearance import sample_appearance
from backend.training.canonical import HAIR_STYLES, TOPS
from backend.training.dressing import (
    BALD,
    CLAMP_M,
    FAMILIES,
    LONG_STYLES,
    STYLE_WEIGHT,
    TOP_LIFT_M,
    UNCUT_M,
    Dressing,
    DressingShapes,
    hair_distance,
    sample_dressing,
)
from tests.small_dataset import HAIR_M, TOP_M, small_canonical
from tests.small_starter import egg_distance

PLAIN = Dressing(0, 0.0, 0.095, UNCUT_M, 0)
NUMBERS = (
    "volume_m", "fringe_m", "bottom_m", "crown_m", "locks_m", "curls_m", "parting_x_m", "parting_m", "fringe_slope",
    "fringe_arch_m", "softness_m",
)  # fmt: skip


@pytest.fixture(scope="module")
def canonical():
    return small_canonical()


@pytest.fixture(scope="module")
def shapes(canonical):
    return DressingShapes(canonical)


def person(seed, gender):
    return sample_appearance(np.random.default_rng(seed), gender, 0.5, ancestry=np.array([0.2, 0.3, 0.5]))


def dressings(gender, count=300):
    return [sample_dressing(np.random.default_rng(1000 + seed), person(seed, gender)) for seed in range(count)]


def test_styles_and_tops_stand_in_z_by_their_shares():
    vector = replace(PLAIN, style=2, other_style=3, blend=0.25, top=5).to_vector()
    styles, tops = vector[: BALD + 1], vector[BALD + 1 : BALD + 1 + len(TOPS)]
    np.testing.assert_allclose(styles[[2, 3]], [0.75 * STYLE_WEIGHT, 0.25 * STYLE_WEIGHT])
    assert np.count_nonzero(styles) == 2 and np.count_nonzero(tops) == 1 and tops[5] == STYLE_WEIGHT


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_of_the_hair_is_told_by_z(name):
    """Each moves its own number, and none does without hair."""
    changed = replace(PLAIN, **{name: getattr(PLAIN, name) + 0.01})
    assert np.count_nonzero(changed.to_vector() - PLAIN.to_vector()) == 1
    np.testing.assert_array_equal(replace(changed, style=BALD).to_vector(), replace(PLAIN, style=BALD).to_vector())


def test_hair_and_tops_go_with_the_person():
    women, men = dressings(0.0), dressings(1.0)

    def share(heads, is_it):
        return np.mean([is_it(head) for head in heads])

    def is_long(head):
        return head.style != BALD and HAIR_STYLES[head.style] in LONG_STYLES

    assert share(women, is_long) > 0.6 > 0.3 > share(men, is_long)
    assert share(men, lambda head: head.style == BALD) > share(women, lambda head: head.style == BALD)
    assert all(TOPS[head.top].startswith("male") for head in men)
    assert {TOPS[head.top].startswith("male") for head in women} == {True, False}


def test_a_bare_scalp_has_no_style():
    bare = replace(person(0, 1.0), scalp_hair=0.1)
    assert all(sample_dressing(np.random.default_rng(seed), bare).style == BALD for seed in range(20))


def test_only_styles_of_one_family_are_mixed():
    mixed = [head for head in dressings(0.5) if head.blend]
    assert len(mixed) > 20
    for head in mixed:
        assert any({HAIR_STYLES[head.style], HAIR_STYLES[head.other_style]} <= set(family) for family in FAMILIES)
        assert head.style != head.other_style and head.blend <= 0.5


def test_volume_moves_the_hair_outwards(canonical):
    points = canonical.hair_pool[0][canonical.hair_pool[0][:, 2] < -0.03]  # Where no fringe is cut.
    gap = hair_distance(PLAIN, canonical, points) - hair_distance(replace(PLAIN, volume_m=0.004), canonical, points)
    np.testing.assert_allclose(gap, 0.004, atol=1e-6)


def test_a_blend_lies_between_its_styles(canonical):
    thick = replace(canonical, hair=np.concatenate([canonical.hair[:1] - np.float16(0.01), canonical.hair[1:]]))
    points = np.array([[0.0, 0.09, -0.06], [0.0, 0.05, -0.095]])
    blend = replace(PLAIN, style=0, other_style=1, blend=0.25)
    first, second = (hair_distance(replace(PLAIN, style=style), thick, points) for style in (0, 1))
    np.testing.assert_allclose(hair_distance(blend, thick, points), 0.75 * first + 0.25 * second, atol=1e-5)


def test_the_crown_rises_and_a_parting_sinks(canonical):
    points = np.array([[0.02, 0.12, 0.02], [-0.05, 0.115, 0.02], [0.0, 0.02, -0.11]])
    plain = hair_distance(PLAIN, canonical, points)
    risen = hair_distance(replace(PLAIN, crown_m=0.006), canonical, points)
    np.testing.assert_allclose(plain - risen, [0.006, 0.0058, 0.0], atol=0.0003)
    parted = hair_distance(replace(PLAIN, parting_x_m=0.02, parting_m=0.004), canonical, points)
    np.testing.assert_allclose(parted - plain, [0.004, 0.0, 0.0], atol=0.0002)


def test_locks_and_curls_are_ripples(canonical):
    points = canonical.hair_pool[0][canonical.hair_pool[0][:, 2] < -0.03]
    for name in ("locks_m", "curls_m"):
        moved = hair_distance(replace(PLAIN, **{name: 0.002}), canonical, points) - hair_distance(
            PLAIN, canonical, points
        )
        assert np.abs(moved).max() <= 0.0021 and moved.std() > 0.0002 and abs(moved.mean()) < 0.0007


def test_a_fringe_is_cut_before_the_face_and_nowhere_else(canonical):
    forehead, back = np.array([[0.0, 0.06, 0.09]]), np.array([[0.0, 0.06, -0.09]])
    high, low = replace(PLAIN, fringe_m=0.05), replace(PLAIN, fringe_m=0.095)
    assert hair_distance(low, canonical, forehead) >= 0.034  # 35 mm of window below the hair line.
    assert hair_distance(low, canonical, forehead) > hair_distance(high, canonical, forehead) + 0.01
    assert hair_distance(low, canonical, back) == pytest.approx(hair_distance(high, canonical, back))


def test_a_fringe_can_slope(canonical):
    sides = np.array([[0.04, 0.07, 0.07], [-0.04, 0.07, 0.07]])
    left, right = hair_distance(replace(PLAIN, fringe_m=0.07, fringe_slope=0.4), canonical, sides)
    assert left > right + 0.01
    same = hair_distance(replace(PLAIN, fringe_m=0.07), canonical, sides)
    assert same[0] == pytest.approx(same[1], abs=0.002)


def test_hair_ends_at_the_bottom_and_thins_out_above_it(canonical):
    above, below = np.array([[0.06, 0.062, -0.07]]), np.array([[0.06, 0.04, -0.075]])
    cut = replace(PLAIN, bottom_m=0.06, softness_m=0.01)
    assert hair_distance(cut, canonical, below) >= 0.019
    thinned = hair_distance(cut, canonical, above) - hair_distance(PLAIN, canonical, above)
    assert 0.005 < thinned < 0.016
    far = np.array([[0.0, 0.11, -0.03]])
    assert hair_distance(cut, canonical, far) == pytest.approx(hair_distance(PLAIN, canonical, far), abs=1e-6)


def test_hair_and_top_lie_where_they_were_made(shapes, canonical):
    """Above the egg, by the hair's thickness and by the top's with its lift."""
    hair = torch.from_numpy(canonical.hair_pool[0][canonical.hair_pool[0][:, 2] < -0.03])
    np.testing.assert_allclose(shapes.hair_of(PLAIN, hair).numpy(), egg_distance(hair.numpy()) - HAIR_M, atol=0.0025)
    top = torch.from_numpy(canonical.top_pool[0])
    np.testing.assert_allclose(
        shapes.top(PLAIN, top).numpy(), egg_distance(top.numpy()) - TOP_M - TOP_LIFT_M, atol=0.0025
    )


def test_the_outer_surface_is_the_nearer_of_hair_and_top(shapes, canonical):
    random = np.random.default_rng(0)
    points = torch.from_numpy(random.uniform(-0.15, 0.15, (3, 300, 3)).astype(np.float32))
    heads = [PLAIN, replace(PLAIN, style=BALD), replace(PLAIN, style=4, top=2, volume_m=0.003)]
    found = shapes.outer(heads, points)
    for head, place, row in zip(heads, points, found, strict=True):
        truth = shapes.top(head, place).numpy()
        if head.style != BALD:
            truth = np.minimum(truth, hair_distance(head, canonical, place.numpy()))
        np.testing.assert_allclose(row.numpy(), np.clip(truth, -CLAMP_M, CLAMP_M), atol=1e-5)
    assert found.abs().max() <= CLAMP_M
