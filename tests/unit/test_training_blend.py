# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.training.blend import blended


@pytest.mark.parametrize("count", [0, 1, 200])
def test_a_blend_is_the_weighted_sum_of_rows(count):
    random = np.random.default_rng(0)
    table = random.normal(size=(50, 4))
    rows, weights = random.integers(0, 50, (count, 3)), random.normal(size=(count, 3))
    np.testing.assert_allclose(blended(table, rows, weights), (weights[..., None] * table[rows]).sum(1), atol=1e-12)


def test_a_row_may_be_taken_twice_and_single_numbers_stay_single():
    table = np.array([[1.0], [10.0]], np.float32)
    found = blended(table, np.array([[1, 1, 0]]), np.array([[0.5, 0.25, 2.0]], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[9.5]])
