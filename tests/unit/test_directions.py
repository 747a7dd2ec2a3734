# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.directions import Codes, move
from backend.errors import SettingsError
from tests.small_starter import EXPRESSIONS, SHAPES, small_directions


def codes():
    random = np.random.default_rng(0)
    return Codes(random.normal(size=(6, 12)), random.normal(size=SHAPES), np.full(len(EXPRESSIONS), 0.25))


def parts(one):
    return np.concatenate([one.ws.ravel(), one.shape, one.expression])


def test_sliders_add_up_in_any_order():
    start, directions = codes(), small_directions()
    together = move(start, directions, {"Jaw width": 0.5, "Hair colour": -1.0, "Smile": 0.3})
    one_by_one = start
    for name, value in {"Smile": 0.3, "Hair colour": -1.0, "Jaw width": 0.5}.items():
        one_by_one = move(one_by_one, directions, {name: value})
    np.testing.assert_allclose(parts(together), parts(one_by_one), atol=1e-12)
    jaw, _, smile, hair = directions
    np.testing.assert_allclose(together.ws, start.ws - hair.w, atol=1e-12)
    np.testing.assert_allclose(together.shape, start.shape + 0.5 * jaw.shape, atol=1e-12)
    np.testing.assert_allclose(together.expression, start.expression + 0.3 * smile.expression, atol=1e-12)


def test_a_slider_moved_back_leaves_nothing():
    start, directions = codes(), small_directions()
    there = move(start, directions, {"Hair colour": 1.5})
    np.testing.assert_allclose(parts(move(there, directions, {"Hair colour": -1.5})), parts(start), atol=1e-12)


def test_no_slider_moves_nothing_and_refinement_stays():
    offset = np.ones((3, 4, 16, 16))
    start = Codes(codes().ws, codes().shape, codes().expression, offset)
    moved = move(start, small_directions(), {})
    np.testing.assert_array_equal(parts(moved), parts(start))
    assert moved.plane_offset is offset


def test_an_unknown_slider_is_named_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"Jaw length.*Jaw width, Mouth open") as caught:
        move(codes(), small_directions(), {"Jaw length": 1.0})
    assert caught.value.code == "unknown_slider"
