# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend import face_detector
from backend.face_detector import Candidate, merge_candidates, overlap


def square(x, y, side, score=0.9):
    return Candidate(np.array([x, y], float), float(side), 0.0, score)


def test_the_overlap_of_squares():
    assert overlap(square(0, 0, 4), square(0, 0, 4)) == pytest.approx(1)
    assert overlap(square(0, 0, 4), square(2, 0, 4)) == pytest.approx(8 / 24)
    assert overlap(square(0, 0, 4), square(0, 0, 2)) == pytest.approx(4 / 16)
    assert overlap(square(0, 0, 4), square(9, 0, 4)) == 0


def test_doubles_are_merged_by_score_and_others_stay():
    merged = merge_candidates([square(0, 0, 10, 0.3), square(50, 0, 10, 0.5), square(2, 0, 10, 0.9)])
    assert [candidate.score for candidate in merged] == [0.9, 0.5]
    assert merged[0].centre[0] == pytest.approx(2 * 0.9 / 1.2)


@pytest.mark.parametrize("size", [(640, 480), (100, 900), (512, 512)])
@pytest.mark.parametrize("subdivision", [1, 2, 4, 8])
def test_the_squares_cover_the_photo(size, subdivision):
    squares = list(face_detector._squares(*size, subdivision))
    rng = np.random.default_rng(0)
    for place in rng.uniform([0, 0], size, (200, 2)):
        assert any((np.abs(place - centre) <= side / 2 + 1e-6).all() for centre, side in squares)
    # A face of half a square's side lies whole in one of them.
    for place in rng.uniform([0, 0], size, (200, 2)):
        face = squares[0][1] / 4
        inside = np.clip(
            place, np.minimum(face, np.array(size) / 2), np.maximum(np.array(size) - face, np.array(size) / 2)
        )
        assert any((np.abs(inside - centre) + face <= side / 2 + 1e-6).all() for centre, side in squares)


def test_the_anchors_are_the_cells_centres():
    anchors = face_detector._anchors()
    assert anchors.shape == (896, 2)
    np.testing.assert_allclose(anchors[:3], [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]])
    np.testing.assert_allclose(anchors[512:519], [[1 / 16, 1 / 16]] * 6 + [[3 / 16, 1 / 16]])
    np.testing.assert_allclose(anchors.mean(0), [0.5, 0.5])
