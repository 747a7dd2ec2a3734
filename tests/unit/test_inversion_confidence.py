# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.alignment import Portrait
from backend.camera import look_at_camera, rays
from backend.face_mesh_points import CHIN
from backend.inversion.confidence import (
    SLOPES,
    TWICE,
    Evidence,
    clearest,
    confidence,
    confidence_sentence,
    expected_log_error,
    gather_evidence,
    outline_gap,
)  # fmt: skip
from backend.mesh import Mesh

CLEAR = Evidence(outline=0.08, landmark_mm=0.7, turned_deg=0.0, doubt=0.08)
RADIUS, DISTANCE, FOCAL = 0.1, 1.2, 2.4


def test_a_clear_frontal_photo_is_the_measure_of_all():
    assert expected_log_error(CLEAR) == pytest.approx(0)
    assert confidence(CLEAR) > 0.85


def test_confidence_is_a_half_where_twice_the_error_is_expected():
    worse = replace(CLEAR, outline=CLEAR.outline + TWICE / SLOPES["outline"])
    assert confidence(worse) == pytest.approx(0.5)


@pytest.mark.parametrize("worse", [{"outline": 0.4}, {"turned_deg": 50.0}, {"doubt": 0.4}, {"landmark_mm": 3.0}])
def test_every_sign_of_trouble_lowers_confidence(worse):
    assert 0 < confidence(replace(CLEAR, **worse)) < confidence(CLEAR) < 1


@pytest.mark.parametrize("value", [0.0, 1e9])
def test_confidence_stays_a_share_whatever_the_measures(value):
    assert 0 <= confidence(Evidence(min(value, 1), value, value, min(value, 1))) <= 1


def test_the_sentence_names_what_is_wrong_the_worst_first():
    guessed = "what the photo does not show, as the hair behind, is a guess"
    assert confidence_sentence(CLEAR) == f"Confidence in the shape {confidence(CLEAR):.2f}: {guessed}."
    sentence = confidence_sentence(replace(CLEAR, outline=0.3, turned_deg=55.0))
    assert sentence.index("hair or outline differ") < sentence.index("seen from the side") < sentence.index("a guess")


def test_of_several_photos_the_clearest_counts_and_the_sentence_says_so():
    turned = replace(CLEAR, turned_deg=55.0)
    assert clearest([turned, CLEAR, replace(CLEAR, doubt=0.4)]) == CLEAR
    assert confidence_sentence(clearest([turned, CLEAR]), photos=2) == (
        f"Confidence in the shape {confidence(CLEAR):.2f}, by the clearest of 2 photos: what no photo shows is a guess."
    )


def ball(radius=RADIUS):
    """A sphere's mesh around the origin."""
    from skimage.measure import marching_cubes

    steps = np.linspace(-0.2, 0.2, 61)
    x, y, z = np.meshgrid(steps, steps, steps, indexing="ij")
    vertices, faces, _, _ = marching_cubes(np.sqrt(x**2 + y**2 + z**2), radius)
    vertices = (vertices / 60 * 0.4 - 0.2).astype(np.float32)
    return Mesh(vertices, faces.astype(np.int32), None, np.zeros((len(vertices), 2), np.float32), vertices)


def disc_portrait(camera, radius, size_px=192):
    """The matte of a ball, seen by the camera; the chin stands at the bottom."""
    origin, directions = rays(camera, size_px)
    flat = directions.reshape(-1, 3) / np.linalg.norm(directions.reshape(-1, 3), axis=1, keepdims=True)
    nearest = np.linalg.norm(np.cross(np.broadcast_to(origin, flat.shape), flat), axis=1)
    mask = torch.from_numpy((nearest < radius).reshape(1, 1, size_px, size_px)).float()
    landmarks = np.zeros((478, 2))
    landmarks[CHIN] = size_px / 2, size_px
    blank = torch.zeros((1, 3, size_px, size_px))
    return Portrait(blank, np.eye(3), landmarks, np.zeros(478), torch.ones_like(mask)), mask


@pytest.fixture(scope="module")
def camera():
    return look_at_camera(yaw_deg=35, pitch_deg=0, distance=DISTANCE, focal=FOCAL)


def test_the_gap_of_two_discs_is_that_of_their_areas(camera):
    for radius, expected in ((RADIUS, 0.0), (RADIUS / math.sqrt(2), 0.5), (RADIUS * math.sqrt(2), 0.5)):
        portrait, mask = disc_portrait(camera, radius)
        assert outline_gap(portrait, mask, ball(), camera) == pytest.approx(expected, abs=0.04)


def test_below_the_chin_and_beyond_the_photo_nothing_counts(camera):
    portrait, mask = disc_portrait(camera, RADIUS)
    half = portrait.size_px // 2
    mask = mask.clone()
    mask[:, :, half:] = 1
    landmarks = portrait.landmarks.copy()
    landmarks[CHIN, 1] = half
    assert outline_gap(replace(portrait, landmarks=landmarks), mask, ball(), camera) < 0.04
    coverage = portrait.coverage.clone()
    coverage[:, :, half:] = 0
    assert outline_gap(replace(portrait, coverage=coverage), mask, ball(), camera) < 0.04
    assert outline_gap(portrait, mask, ball(), camera) > 0.3


def test_a_head_beside_an_empty_matte_is_all_gap(camera):
    portrait, mask = disc_portrait(camera, RADIUS)
    assert outline_gap(portrait, 0 * mask, ball(), camera) == 1.0
    assert outline_gap(replace(portrait, coverage=0 * mask), mask, ball(), camera) == 0.0


def test_evidence_takes_the_turn_from_the_camera(camera):
    portrait, mask = disc_portrait(camera, RADIUS)
    found = gather_evidence(portrait, mask, ball(), camera, landmark_mm=0.9, score=0.8)
    assert found.turned_deg == pytest.approx(35) and found.landmark_mm == 0.9 and found.doubt == pytest.approx(0.2)
