# SPDX-License-Identifier: Apache-2.0
from dataclasses import fields, replace

import numpy as np
import pytest

from backend.training.appearance import IMPORTANCE, NAMES, Appearance, sample_appearance

UNLIMITED = {"tone", "lip_color", "iris_size"}
ANCESTRY = np.array([0.2, 0.3, 0.5])


def people(count=600, **fixed):
    rng = np.random.default_rng(4)
    for _ in range(count):
        gender = fixed.get("gender", rng.random())
        age = fixed.get("age", rng.uniform(0.38, 1.0))
        ancestry = fixed.get("ancestry", rng.dirichlet([0.5, 0.5, 0.6]))
        yield sample_appearance(rng, gender, age, ancestry=np.asarray(ancestry, dtype=float))


def test_the_same_seed_gives_the_same_person():
    first, again, other = (
        sample_appearance(np.random.default_rng(seed), 0.8, 0.6, ancestry=ANCESTRY) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_all_numbers_stay_in_range():
    for person in people():
        for field in fields(Appearance):
            value = getattr(person, field.name)
            if field.name not in UNLIMITED and not isinstance(value, str):
                assert np.min(value) >= 0 and np.max(value) <= 1, field.name


def test_derived_colors_stay_in_range():
    for person in people():
        for color in (person.skin_base, person.hair_base, person.lip_base):
            assert color.min() > 0 and color.max() < 1


def test_vector_has_a_name_and_an_importance_for_each_number_and_is_about_unit_sized():
    vectors = np.array([person.to_vector() for person in people()])
    assert vectors.dtype == np.float32
    assert vectors.shape[1] == len(NAMES) == len(IMPORTANCE) == len(set(NAMES))
    unit = vectors / IMPORTANCE
    spread = unit.std(axis=0)
    assert spread.min() > 0.4 and spread.max() < 1.6
    assert np.abs(unit.mean(axis=0)).max() < 1.3


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"beard_style": "goatee", "beard_amount": 0.8}, {"beard_regions_lip", "beard_regions_chin"}),
        ({"iris_color": (0.4, 0.5, 0.6)}, {"iris_color_red", "iris_color_green", "iris_color_blue"}),
        ({"top_pattern": "check"}, {"top_check"}),
        ({"hair_grey": 0.9}, {"hair_grey", "hair_base_red"}),
    ],
)
def test_a_change_shows_in_its_numbers(change, names):
    person = replace(next(people(1)), beard_style="none", beard_amount=0.0, top_pattern="plain", hair_grey=0.0)
    moved = np.abs(replace(person, **change).to_vector() - person.to_vector()) > 1e-4
    assert names <= {name for name, moves in zip(NAMES, moved, strict=True) if moves}


def test_lipstick_color_without_lipstick_changes_nothing():
    person = replace(next(people(1)), lipstick=0.0)
    other = replace(person, lipstick_color=(0.1, 0.9, 0.1))
    np.testing.assert_array_equal(person.to_vector(), other.to_vector())


def test_women_and_the_young_have_no_beard_and_men_no_lipstick():
    assert all(person.beard_style == "none" for person in people(200, gender=0.1))
    assert all(person.beard_style == "none" for person in people(200, gender=1.0, age=0.3))
    assert all(person.lipstick == 0 for person in people(200, gender=1.0))
    assert len({person.beard_style for person in people(300, gender=1.0)}) == 5


def test_grey_hair_and_wrinkles_come_with_age():
    young, old = list(people(200, age=0.5)), list(people(200, age=0.95))
    assert max(person.hair_grey for person in young) == 0
    assert np.mean([person.hair_grey for person in old]) > 0.4
    assert young[0].wrinkles == 0 and old[0].wrinkles == 1


def test_melanin_follows_ancestry():
    african, asian, caucasian = (np.mean([person.melanin for person in people(200, ancestry=row)]) for row in np.eye(3))
    assert african > asian + 0.2 > caucasian + 0.2


def test_light_eyes_are_rare_with_dark_hair():
    blue = [person.iris_color[2] > person.iris_color[0] for person in people(300, ancestry=(0, 0, 1))]
    assert 0.1 < np.mean(blue) < 0.7
    assert not any(person.iris_color[2] > person.iris_color[0] for person in people(200, ancestry=(1, 0, 0)))
