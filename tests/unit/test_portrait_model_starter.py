# SPDX-License-Identifier: Apache-2.0
"""The starter's codes with and without the photo's expression."""

from dataclasses import replace

import numpy as np
import pytest

from backend.directions import Codes
from backend.portrait_model.starter import REST_EXPRESSION, StarterModel
from tests.small_starter import SHAPES, small_starter

SEEN = np.array([0.7, 0.0, 0.2])


def model_of(names):
    starter = small_starter()
    return StarterModel(replace(starter, template=replace(starter.template, expression_names=names)))


def codes_of(model, expression):
    return Codes(np.zeros(model.code_shapes["ws"]), np.linspace(-1, 1, SHAPES), expression)


@pytest.mark.parametrize("names", [("jawOpen", "mouthClose", "eyeBlinkLeft"), ("jawOpen", "cheekPuff", "eyeBlinkLeft")])
def test_at_rest_the_photo_s_expression_is_gone_and_the_lips_are_closed(names):
    model = model_of(names)
    seen = codes_of(model, SEEN)
    expected = [REST_EXPRESSION.get(name, 0.0) for name in names]
    np.testing.assert_allclose(model.at_rest(seen, seen).expression, expected, atol=1e-15)
    assert model.at_rest(seen, seen).shape is seen.shape


def test_what_sliders_added_to_the_photo_s_expression_stays():
    model = model_of(("jawOpen", "mouthClose", "eyeBlinkLeft"))
    seen, moved = codes_of(model, SEEN), codes_of(model, SEEN + np.array([0, 0, 0.5]))
    np.testing.assert_allclose(model.at_rest(moved, seen).expression, [0, 0.1, 0.5], atol=1e-15)


def test_as_seen_undoes_at_rest():
    model = model_of(("jawOpen", "mouthClose", "eyeBlinkLeft"))
    seen = codes_of(model, SEEN)
    np.testing.assert_allclose(model.as_seen(model.at_rest(seen, seen), seen).expression, SEEN, atol=1e-15)
