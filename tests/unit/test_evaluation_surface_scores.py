# SPDX-License-Identifier: Apache-2.0
"""Known heads against a ball: the same ball, a larger one, and one with a horn."""

import numpy as np
import pytest

from backend.evaluation import surface_scores as module
from backend.evaluation.registration import SEVEN_LANDMARKS, Similarity
from backend.evaluation.surface_scores import STANDS_OUT_MM, surface_scores
from backend.mesh import Mesh
from tests.ball_person import ball_truth


@pytest.fixture(scope="module")
def truth():
    return ball_truth()


@pytest.fixture(autouse=True)
def in_place(monkeypatch):
    """Heads stay where they are: a ball can be turned as one likes."""
    stay = Similarity(1.0, np.eye(3), np.zeros(3))
    monkeypatch.setattr(module, "register", lambda *rest: stay)


def scores_of(truth, vertices):
    return surface_scores(truth, Mesh(vertices, truth.scene.subject.faces), truth.landmarks[list(SEVEN_LANDMARKS)])


def test_the_true_head_has_no_error(truth):
    scores = scores_of(truth, truth.scene.subject.vertices)
    assert scores["face_mm"] < 0.1 and scores["head_mm"] < 2 and scores["outside_percent"] == 0
    assert scores["error_mm"] == pytest.approx(np.sqrt(scores["face_mm"] * scores["head_mm"]))


def test_a_larger_ball_is_off_by_what_it_is_larger(truth):
    centre = truth.scene.subject.vertices.mean(0)
    larger = centre + (truth.scene.subject.vertices - centre) * 1.1
    scores = scores_of(truth, larger)
    off_mm = 0.1 * 0.11 * truth.mm_per_m
    assert scores["face_mm"] == pytest.approx(off_mm, rel=0.02)
    assert scores["head_mm"] == pytest.approx(off_mm, rel=0.1)
    assert (scores["outside_percent"] > 99) == (off_mm > STANDS_OUT_MM)


def test_a_horn_stands_outside_and_a_dent_does_not(truth):
    vertices = truth.scene.subject.vertices
    centre, up = vertices.mean(0), truth.frame.rotation[:, 1]
    is_top = (vertices - centre) @ up > 0.095
    horn, dent = vertices.copy(), vertices.copy()
    horn[is_top] += 0.05 * up
    dent[is_top] -= 0.05 * up
    with_horn, with_dent = (scores_of(truth, shape) for shape in (horn, dent))
    assert 5 < with_horn["outside_percent"] < 40
    assert with_dent["outside_percent"] < 1
    assert with_horn["face_mm"] < 0.5
