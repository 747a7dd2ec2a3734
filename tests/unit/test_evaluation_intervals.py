# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.evaluation.intervals import Interval, paired_difference, paired_ratio


def names(count, photos=1):
    return [f"head-{number // photos}" for number in range(count)]


def test_a_ratio_that_all_subjects_share_has_no_spread():
    second = np.random.default_rng(0).uniform(1, 5, 12)
    found = paired_ratio(0.8 * second, second, names(12))
    np.testing.assert_allclose([found.value, found.low, found.high], 0.8)


def test_pairing_takes_what_subjects_differ_by_out_of_a_difference():
    second = np.random.default_rng(0).normal(0, 100, 12)
    found = paired_difference(second + 0.25, second, names(12))
    np.testing.assert_allclose([found.value, found.low, found.high], 0.25)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    random = np.random.default_rng(1)
    differences = random.normal(2.0, 3.0, 400)
    found = paired_difference(differences, np.zeros(400), names(400))
    reach = 1.96 * differences.std() / np.sqrt(400)
    assert found.value == pytest.approx(differences.mean())
    np.testing.assert_allclose([found.low, found.high], [found.value - reach, found.value + reach], atol=0.1 * reach)


def test_more_photos_of_the_same_heads_make_nothing_surer():
    random = np.random.default_rng(2)
    first, second = random.uniform(1, 2, 8), random.uniform(1, 2, 8)
    once = paired_ratio(first, second, names(8))
    repeated = paired_ratio(first.repeat(5), second.repeat(5), names(40, photos=5))
    np.testing.assert_allclose(
        [once.value, once.low, once.high], [repeated.value, repeated.low, repeated.high], rtol=1e-9
    )


def test_the_ratio_is_that_of_the_means_and_lies_between_the_extreme_subjects():
    found = paired_ratio(np.array([1.0, 9.0]), np.array([2.0, 3.0]), ["a", "b"])
    assert found == Interval(2.0, 0.5, 3.0)


def test_one_subject_tells_no_spread():
    found = paired_ratio(np.array([1.0, 2.0]), np.array([2.0, 2.0]), ["a", "a"])
    assert found.value == 0.75
    assert np.isnan([found.low, found.high]).all()


def test_nothing_to_compare_with_is_no_small_number():
    assert paired_ratio(np.array([1.0]), np.array([0.0]), ["a"]).value == np.inf
