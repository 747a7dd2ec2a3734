# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np

from backend.training.build import CPU, IDENTITY, _candidates
from backend.training.dataset import BALD
from tests.small_dataset import plain_heads


def test_candidates_are_an_ordinary_head_and_some_of_every_style():
    heads = plain_heads(40)
    candidates = _candidates(heads, per_style=2)
    descriptions = np.stack([head.z for head in heads])
    np.testing.assert_allclose(candidates[0], np.median(descriptions, axis=0), rtol=1e-6)
    styles = [
        next(head.dressing.style for head in heads if np.array_equal(head.z, candidate)) for candidate in candidates[1:]
    ]
    assert styles == sorted(styles) and max(np.bincount(styles)) <= 2
    assert set(styles) == {head.dressing.style for head in heads} and BALD in styles


def test_a_style_nobody_wears_is_left_out():
    heads = [replace(head, dressing=replace(head.dressing, style=2)) for head in plain_heads(9)]
    assert len(_candidates(heads, per_style=4)) == 5


def test_the_models_licence_is_said():
    assert IDENTITY["licence"] == "CC0-1.0" and IDENTITY["commercial_use"] == "yes"
    assert CPU.held_out > 0 and CPU.population <= CPU.heads
