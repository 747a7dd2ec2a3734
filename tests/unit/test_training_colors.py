# SPDX-License-Identifier: Apache-2.0
"""Skin, eyes, hair and clothes as functions of position: places with known colours, mirror symmetry, range."""

from dataclasses import replace

import numpy as np
import pytest

from backend.training.appearance import sample_appearance
from backend.training.eyes import EYE_CENTRE, eye_color
from backend.training.face_hair import scalp_cover
from backend.training.hair import hair_color
from backend.training.masks import MASKS
from backend.training.skin import LOWER_LID, UPPER_LID, skin_color
from backend.training.skin_points import SkinPoints
from backend.training.tops import NECKBANDS, SHIRTS, top_color

CHEEK, FOREHEAD, LOWER_LIP = (0.42, 7.0, 1.3), (0.0, 7.7, 1.48), (0.08, 6.56, 1.55)
CROWN, NAPE, BACK_OF_NECK = (0.0, 8.45, 0.5), (0.1, 7.0, -0.3), (0.1, 6.4, -0.1)
BROW, UPPER_LIP_SKIN, CHIN = (0.30, 7.50, 1.4), (0.12, 6.76, 1.54), (0.0, 6.32, 1.42)
STYLES = ("short01", "long01", "ponytail01", "braid01", "afro01", "unknown")
TOPS = (*NECKBANDS, *SHIRTS, "male_casualsuit05", "male_elegantsuit01", "male_worksuit01", "unknown")


@pytest.fixture
def person():
    appearance = sample_appearance(np.random.default_rng(2), 0.2, 0.5, ancestry=np.array([0.0, 0.0, 1.0]))
    return replace(appearance, freckles=0.0, moles=0.0, hair_melanin=0.9, hair_grey=0.0, scalp_hair=1.0, eye_makeup=0.0)


def skin_points(*places, **masked):
    points = np.array(places, dtype=float)
    return SkinPoints(points, {name: np.full(len(points), masked.get(name, 0.0)) for name in MASKS})


def skin_at(appearance, *places, **masked):
    place = skin_points(*places, **masked)
    return skin_color(appearance, place.points, place.masks)


def head_points(count=4000):
    """Points all over and around the head, decimetres."""
    return np.random.default_rng(9).uniform([-0.9, 5.5, -0.5], [0.9, 8.6, 1.8], (count, 3))


def test_colors_stay_in_range_and_repeat_exactly(person):
    bearded = replace(person, beard_style="full", beard_amount=1.0, freckles=1.0, moles=1.0, lipstick=1.0, age=1.0)
    points = head_points()
    for appearance in (person, bearded):
        colors = skin_at(appearance, *points)
        assert colors.min() >= 0 and colors.max() <= 1
        np.testing.assert_array_equal(colors, skin_at(appearance, *points))


def test_a_point_has_its_color_whatever_other_points_are_asked(person):
    points = head_points(200)
    np.testing.assert_allclose(skin_at(person, *points)[50:60], skin_at(person, *points[50:60]), atol=1e-6)


def test_skin_is_mirror_symmetric_but_for_fine_texture(person):
    points = head_points()
    difference = skin_at(person, *points) - skin_at(person, *(points * [-1, 1, 1]))
    assert np.abs(difference).max() < 0.09
    assert np.abs(difference).mean() < 0.015
    assert np.abs(difference.mean()) < 0.002


def test_lips_are_redder_than_cheeks(person):
    cheek, lip = skin_at(person, CHEEK)[0], skin_at(person, LOWER_LIP, lips=1.0)[0]
    assert lip[0] / lip[1] > 1.1 * cheek[0] / cheek[1]


def test_lipstick_covers_the_lips_and_only_them(person):
    green = replace(person, lipstick=1.0, lipstick_color=(0.1, 0.8, 0.1))
    lip = skin_at(green, LOWER_LIP, lips=1.0)[0]
    assert lip[1] > 2 * lip[0]
    np.testing.assert_array_equal(skin_at(green, CHEEK), skin_at(person, CHEEK))


def test_melanin_darkens_skin_everywhere(person):
    points = head_points()
    light, dark = (skin_at(replace(person, melanin=melanin), *points) for melanin in (0.1, 0.9))
    assert (dark <= light + 1e-6).mean() > 0.99


def test_hair_grows_on_the_scalp_and_not_on_face_or_neck(person):
    places = skin_points(CROWN, NAPE, FOREHEAD, CHEEK, BACK_OF_NECK)
    np.testing.assert_allclose(scalp_cover(places, person), [1, 1, 0, 0, 0], atol=1e-3)
    tinted, bald = skin_at(person, CROWN)[0], skin_at(replace(person, scalp_hair=0.0), CROWN)[0]
    assert tinted.max() < 0.4 < bald.min()


def test_receding_hair_bares_the_temples(person):
    temple = skin_points((0.36, 8.06, 1.02))
    covered, bare = (scalp_cover(temple, replace(person, hairline_recession=amount))[0] for amount in (0.0, 1.0))
    assert covered > 0.5 > bare


def test_brows_are_darker_than_the_forehead_unless_sparse(person):
    dense = skin_at(replace(person, brow_density=1.0, brow_thickness=1.0), BROW)[0]
    assert dense.mean() < 0.6 * skin_at(person, FOREHEAD)[0].mean()


@pytest.mark.parametrize(
    ("style", "lip_bearded", "chin_bearded", "cheek_bearded"),
    [("full", True, True, True), ("goatee", True, True, False), ("moustache", True, False, False)],
)
def test_beards_grow_where_their_style_says(person, style, lip_bearded, chin_bearded, cheek_bearded):
    places = (UPPER_LIP_SKIN, CHIN, (0.58, 6.6, 0.95))
    bare = replace(person, gender=0.0)
    bearded = replace(bare, beard_style=style, beard_amount=1.0, beard_length=1.0)
    darkened = skin_at(bearded, *places).mean(1) < 0.7 * skin_at(bare, *places).mean(1)
    assert darkened.tolist() == [lip_bearded, chin_bearded, cheek_bearded]


def test_lashes_line_the_upper_lid(person):
    on_lid = [(x, y + 0.003, 1.37) for x, y in UPPER_LID[3:-2]]
    above = [(x, y + 0.09, 1.40) for x, y in UPPER_LID[3:-2]]
    dark = replace(person, lash_darkness=1.0)
    assert skin_at(dark, *on_lid).mean() < 0.4 * skin_at(dark, *above).mean()


def test_the_eye_opens_between_the_lids():
    upper, lower = np.array(UPPER_LID), np.array(LOWER_LID)
    heights = np.interp(lower[1:-1, 0], upper[:, 0], upper[:, 1])
    assert (heights > lower[1:-1, 1]).all()
    assert lower[:, 1].min() < EYE_CENTRE[1] < upper[:, 1].max()


def eyeball_points(off_axis):
    """Front of the left eyeball at distances from the gaze axis, decimetres."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x, y = off_axis * np.cos(angle), off_axis * np.sin(angle)
    return EYE_CENTRE + np.stack([x, y, np.sqrt(0.15**2 - x**2 - y**2)], axis=1)


def test_pupil_is_darker_than_iris_and_iris_darker_than_the_white(person):
    pupil, iris, white = (eye_color(person, eyeball_points(distance)).mean() for distance in (0.01, 0.04, 0.085))
    assert pupil < 0.5 * iris < 0.5 * white


def test_iris_has_its_color_and_a_dark_rim(person):
    blue = replace(person, iris_color=(0.35, 0.5, 0.7), iris_size=0.0)
    iris, rim = eye_color(blue, eyeball_points(0.042)).mean(0), eye_color(blue, eyeball_points(0.0525)).mean(0)
    assert iris[2] > iris[1] > iris[0]
    assert rim.mean() < 0.8 * iris.mean()


def test_both_eyes_are_alike(person):
    points = eyeball_points(0.05)
    np.testing.assert_allclose(eye_color(person, points), eye_color(person, points * [-1, 1, 1]), atol=1e-6)


@pytest.mark.parametrize("style", STYLES)
def test_hair_has_its_mean_color_in_range(person, style):
    points = np.random.default_rng(3).uniform([-0.1, 0.0, -0.12], [0.1, 0.16, 0.1], (5000, 3))
    colors = hair_color(person, points, style)
    assert colors.min() >= 0 and colors.max() <= 1
    np.testing.assert_allclose(colors.mean(0), person.hair_base, rtol=0.35)


def test_strands_vary_across_more_than_along(person):
    streaky = replace(person, strand_contrast=1.0, hair_melanin=0.3, hair_roots=0.0)
    azimuth, height = np.meshgrid(np.linspace(-3, 3, 300), np.linspace(-0.10, 0.0, 30))
    points = np.stack([0.1 * np.sin(azimuth), height, 0.1 * np.cos(azimuth) - 0.015], axis=-1)
    colors = hair_color(streaky, points.reshape(-1, 3), "bob01").mean(1).reshape(height.shape)
    step_m = 0.1 * 6 / 299
    across = np.abs(np.diff(colors, axis=1)).mean() / step_m
    along = np.abs(np.diff(colors, axis=0)).mean() / (0.10 / 29)
    assert across > 2 * along


@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("pattern", ["plain", "stripes", "check"])
def test_tops_stay_in_range_and_are_mirror_symmetric(person, top, pattern):
    points = np.random.default_rng(5).uniform([0, -0.21, -0.1], [0.2, -0.08, 0.14], (1000, 3))
    dressed = replace(person, top_pattern=pattern)
    colors = top_color(dressed, points, top)
    assert colors.min() >= 0 and colors.max() <= 1
    # Folds differ between the sides.
    mirrored = top_color(dressed, points * [-1, 1, 1], top)
    assert np.abs(colors - mirrored).max() < 0.13


def test_second_color_shows_at_the_neckband_and_first_below(person):
    dressed = replace(person, top_color=(0.8, 0.1, 0.1), top_second_color=(0.1, 0.1, 0.8), top_pattern="plain")
    neckband, chest = top_color(dressed, np.array([[0.0, -0.131, 0.04], [0.05, -0.18, 0.09]]), "male_casualsuit02")
    assert neckband[2] > neckband[0] and chest[0] > chest[2]


def test_the_suit_has_a_shirt_and_a_tie_below(person):
    dressed = replace(person, top_color=(0.1, 0.1, 0.2), top_second_color=(0.6, 0.1, 0.1), top_pattern="plain")
    tie, shirt, jacket = top_color(
        dressed, np.array([[0.0, -0.19, 0.1], [0.03, -0.16, 0.08], [0.12, -0.18, 0.08]]), "male_elegantsuit01"
    )
    assert shirt.min() > 0.5 and jacket.max() < 0.3
    assert tie[0] > 2 * tie[2]
