# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.head import PHOTO_EXPRESSION, MorphTarget, Slider
from backend.photo_expression import expression_note, first_of_its_group, photo_expression
from tests.analytic import box_mesh


def target_of(group):
    return MorphTarget(Slider(f"one of {group}", group, 0.0, 1.0), np.zeros((4, 3), np.float32))


def test_at_one_it_puts_the_photo_s_vertices_on_the_neutral_head():
    """To the last bit but one of the larger coordinate."""
    random, neutral = np.random.default_rng(0), box_mesh()
    moved = neutral.vertices + random.normal(0, 0.01, neutral.vertices.shape).astype(np.float32)
    target = photo_expression(neutral, replace(neutral, vertices=moved), start=0.0)
    np.testing.assert_allclose(neutral.vertices + target.offsets, moved, rtol=0, atol=np.spacing(np.float32(1)))
    assert (target.slider.name, target.slider.minimum, target.slider.maximum) == (PHOTO_EXPRESSION, 0.0, 1.0)


@pytest.mark.parametrize(
    ("groups", "place"), [(["Shape", "Expression", "Expression", "Pose"], 1), (["Shape"], 1), ([], 0)]
)
def test_it_comes_first_of_its_group(groups, place):
    others = [target_of(group) for group in groups]
    target = target_of("Expression")
    found = first_of_its_group(target, others)
    assert found[place] is target and [one for one in found if one is not target] == others


@pytest.mark.parametrize(("start", "state"), [(0.0, "at rest:"), (1.0, "as in the photo:"), (0.25, "at 0.25 of")])
def test_the_report_says_how_the_head_is_opened(start, state):
    assert expression_note(start).startswith(f"The face is {state}") and PHOTO_EXPRESSION in expression_note(start)
