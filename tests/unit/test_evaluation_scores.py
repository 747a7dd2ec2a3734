# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from backend.evaluation.scores import Goal, ItemResult, is_reached, mean_of, median_for, summarize


def results(name, values, failures=0):
    done = [ItemResult(f"head-{number}", {name: value}) for number, value in enumerate(values)]
    return done + [ItemResult(f"bad-{number}", failure="no face", code="no_face") for number in range(failures)]


def summary(name, values, failures=0):
    return summarize(results(name, values, failures))[0]


def test_median_and_worst_tenth_of_an_error_and_of_a_likeness():
    assert summary("face_median_mm", range(1, 12)).median == 6
    assert summary("face_median_mm", range(1, 12)).worst == 10
    assert summary("psnr_40", range(1, 12)).worst == 2


def test_an_even_number_of_items_has_its_median_between_the_middle_ones():
    assert summary("mse", [1, 2, 4, 8]).median == 3


def test_failures_count_as_worst_and_are_not_dropped():
    one = summary("face_median_mm", [1, 2, 3], failures=2)
    assert (one.median, one.worst, one.count, one.failed) == (3, math.inf, 3, 2)
    assert summary("psnr_40", [20, 30], failures=2).median == -math.inf


def test_failures_do_not_slow_down_what_went_well():
    assert summary("seconds_cpu", [10, 30], failures=5).median == 20


def test_what_cannot_be_measured_is_left_out():
    one = summary("identity_excess_60", [0.1, None, 0.3])
    assert (one.median, one.count) == (pytest.approx(0.2), 2)


def test_relief_is_best_at_one():
    assert summary("flatness", [1.0, 1.2, 0.5]).worst == 0.5
    assert summary("flatness", [1.0, 1.2, 0.5]).median == 1.2


def test_goals_know_which_way_is_better():
    assert is_reached(Goal("psnr_40", 20, ""), 21)
    assert not is_reached(Goal("psnr_40", 20, ""), 19)
    assert is_reached(Goal("face_median_mm", 1.5, ""), 1.5)
    assert not is_reached(Goal("face_median_mm", 1.5, ""), math.inf)
    assert not is_reached(Goal("face_median_mm", 1.5, ""), math.nan)


def test_a_goal_is_missed_where_everything_failed_and_open_where_there_is_nothing():
    goal = Goal("face_median_mm", 1.5, "")
    assert median_for(goal, results("face_median_mm", [1, 2])) == 1.5
    assert median_for(goal, results("face_median_mm", [], failures=2)) == math.inf
    assert math.isnan(median_for(goal, []))


def test_the_mean_is_of_what_is_known():
    assert mean_of([1, None, 3]) == 2
    assert mean_of([None, None]) is None
