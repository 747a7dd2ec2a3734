# SPDX-License-Identifier: Apache-2.0
"""Difficult photos of a ball: each difficulty is where it should be, and the rest of the photo stays."""

from dataclasses import dataclass

import numpy as np
import pytest

from backend.evaluation.difficulties import DIFFICULTIES, Sitting, difficult_photo
from backend.training.glasses import Glasses
from backend.training.portrait_source import PortraitSource
from tests.ball_person import ball_scene, ball_truth

SIZE_PX = 192
YELLOW = (0.8, 0.8, 0.1)


@dataclass(frozen=True)
class Person:
    """What a source tells of people before their scene is made."""

    glasses: Glasses | None = None


class Source(PortraitSource):
    """People are balls; glasses make them yellow."""

    def __init__(self):
        pass

    def person(self, seed, number, *, glasses_share):
        return Person()

    def scene(self, person):
        return ball_scene(YELLOW if person.glasses else (0.8, 0.1, 0.1))


@pytest.fixture(scope="module")
def sitting():
    return Sitting(ball_truth(SIZE_PX), ball_truth(SIZE_PX), Source())


def changed(sitting, difficulty):
    """Where a photo differs visibly from the plain one."""
    before, after = (difficult_photo(sitting, name).astype(int) for name in ("plain", difficulty))
    return np.abs(after - before).max(-1) > 24


def test_the_plain_photo_is_the_truth(sitting):
    np.testing.assert_array_equal(difficult_photo(sitting, "plain"), sitting.truth.photo)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_photos_are_the_same_every_time(sitting, difficulty):
    photo = difficult_photo(sitting, difficulty)
    assert photo.shape == (SIZE_PX, SIZE_PX, 3) and photo.dtype == np.uint8
    np.testing.assert_array_equal(photo, difficult_photo(sitting, difficulty))


def test_a_hand_covers_a_cheek_and_leaves_the_other(sitting):
    left, _, width, _ = sitting.face_box(sitting.truth)
    is_changed = changed(sitting, "hand")
    assert is_changed.mean() > 0.01
    assert not is_changed[:, : int(left + 0.5 * width)].any()


def test_a_hat_stands_above_the_face(sitting):
    left, top, width, height = sitting.face_box(sitting.truth)
    is_changed = changed(sitting, "hat")
    assert is_changed[int(top - 0.5 * height), int(left + width / 2)]
    assert not is_changed[int(top + 0.2 * height) :].any()


def test_another_person_stands_beside(sitting):
    left, _, width, _ = sitting.face_box(sitting.truth)
    columns = np.flatnonzero(changed(sitting, "second person").any(0))
    assert len(columns) and columns[0] > left + width


def test_wisps_are_thin(sitting):
    is_changed = changed(sitting, "hair wisps")
    assert 0.002 < is_changed.mean() < 0.15
    inner = is_changed[1:-1, 1:-1] & is_changed[2:, 1:-1] & is_changed[:-2, 1:-1]
    assert (inner & is_changed[1:-1, 2:] & is_changed[1:-1, :-2]).mean() < 0.5 * is_changed.mean()


def test_side_light_leaves_one_side_and_darkens_the_other(sitting):
    left, _, width, _ = sitting.face_box(sitting.truth)
    plain, lit = (difficult_photo(sitting, name).astype(float).sum(-1) for name in ("plain", "side light"))
    share = (lit + 1) / (plain + 1)
    assert share[:, : int(left)].max() < 0.35
    np.testing.assert_allclose(np.median(share[:, int(left + 1.5 * width) :]), 1.25, atol=0.1)


def test_glasses_are_put_on_the_person(sitting):
    is_changed = changed(sitting, "glasses")
    yellow = difficult_photo(sitting, "glasses")[is_changed].astype(int)
    assert is_changed.mean() > 0.05
    assert np.median(yellow[:, 1] - yellow[:, 2]) > 40
