# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.training.mouth import GUM, TONGUE, TOOTH, load_mouth
from tests.mean_body import ICT, makehuman, needs_assets

pytestmark = needs_assets


@pytest.fixture(scope="module")
def mouth():
    return load_mouth(makehuman(), ICT)


def base():
    return makehuman().base.vertices


def of_kind(mouth, kind):
    return np.unique(mouth.faces[mouth.kind == kind])


def test_half_of_the_32_teeth_follow_the_jaw(mouth):
    teeth = of_kind(mouth, TOOTH)
    assert set(np.unique(mouth.jaw[teeth])) == {0.0, 1.0}
    assert 0.4 < mouth.jaw[teeth].mean() < 0.6
    rest = mouth.place(base(), {})
    front = teeth[rest[teeth, 2] > 1.3]
    assert rest[front[mouth.jaw[front] == 1], 1].mean() < rest[front[mouth.jaw[front] == 0], 1].mean() - 0.05


def test_an_open_jaw_takes_the_lower_teeth_along_rigidly_and_leaves_the_upper(mouth):
    rest, opened = mouth.place(base(), {}), mouth.place(base(), {"jawOpen": 1.0})
    np.testing.assert_array_equal(opened[mouth.jaw == 0], rest[mouth.jaw == 0])
    teeth = of_kind(mouth, TOOTH)
    lower = teeth[mouth.jaw[teeth] == 1]
    assert (opened[lower, 1] < rest[lower, 1]).all()
    assert 0.15 < (rest[lower, 1] - opened[lower, 1]).max() < 0.5
    before, after = (np.linalg.norm(place[lower[:200]] - place[lower[200]], axis=1) for place in (rest, opened))
    np.testing.assert_allclose(after, before, atol=0.003)


def test_the_jaw_goes_to_its_sides_and_forward(mouth):
    rest = mouth.place(base(), {})
    teeth = of_kind(mouth, TOOTH)
    lower = teeth[mouth.jaw[teeth] == 1]
    moved = {name: (mouth.place(base(), {name: 1.0}) - rest)[lower].mean(0) for name in mouth.moves}
    assert moved["jawLeft"][0] > 0.03 and moved["jawRight"][0] == pytest.approx(-moved["jawLeft"][0], abs=1e-3)
    assert moved["jawForward"][2] > 0.03


def test_the_tongue_comes_out_and_the_teeth_stay(mouth):
    moved = mouth.place(base(), {"tongueOut": 1.0}) - mouth.place(base(), {})
    tongue = of_kind(mouth, TONGUE)
    assert moved[tongue, 2].max() > 0.3
    assert not moved[of_kind(mouth, TOOTH)].any() and not moved[of_kind(mouth, GUM)].any()


def test_teeth_are_lighter_than_gums_and_tongue(mouth):
    light = {kind: mouth.colors[mouth.kind == kind].mean() for kind in (TOOTH, GUM, TONGUE)}
    assert light[TOOTH] > max(light[GUM], light[TONGUE]) + 0.2
    assert mouth.faces.max() < len(mouth.jaw) == len(mouth.tip)


def test_other_expressions_do_not_move_it(mouth):
    np.testing.assert_array_equal(mouth.place(base(), {"eyeBlinkLeft": 1.0}), mouth.place(base(), {}))
