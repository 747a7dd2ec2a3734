# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from backend.evaluation.inversion_claims import Claim, Outcome, asked, find, value_of, worst_of
from backend.evaluation.inversion_items import Entry
from backend.evaluation.scores import ItemResult

SPI, PTI = Entry("spi", "draft"), Entry("pti", "draft")
MSE = Claim("", "mse_60", "spi draft", "pti draft", 0.8)


def outcome(entry, subject, yaw, **scores):
    name = f"{subject}{yaw}"
    result = ItemResult(name, scores) if scores else ItemResult(name, failure="No face.", code="no_face")
    return Outcome(name, subject, yaw, entry, result)


def pair(subject, yaw, first, second, score="mse_60"):
    return [
        outcome(entry, subject, yaw, **({} if value is None else {score: value}))
        for entry, value in ((SPI, first), (PTI, second))
    ]


def test_the_ratio_is_that_of_the_means_over_common_photos():
    outcomes = [*pair("a", 0, 1.0, 2.0), *pair("b", 30, 2.0, 4.0), outcome(SPI, "c", 0, mse_60=100.0)]
    found = find(MSE, outcomes)
    assert (found.interval.value, found.photos, found.subjects) == (0.5, 2, 2)
    assert found.verdict == "met"


def test_a_failure_counts_as_the_worst_that_anything_reached():
    outcomes = [*pair("a", 0, None, 2.0), *pair("b", 0, 1.0, 4.0), outcome(Entry("w", "draft"), "a", 0, mse_60=7.0)]
    assert worst_of("mse_60", outcomes) == 7.0
    found = find(MSE, outcomes)
    assert (found.interval.value, found.failures) == ((7.0 + 1.0) / (2.0 + 4.0), 1)


def test_the_worst_likeness_is_the_lowest():
    outcomes = [*pair("a", 0, 0.9, 0.4, "ssim_input"), *pair("b", 0, None, 0.8, "ssim_input")]
    assert worst_of("ssim_input", outcomes) == 0.4
    assert value_of(outcomes[2], "ssim_input", 0.4) == 0.4


def test_what_a_failure_cost_is_nobody_s_cost():
    assert value_of(outcome(SPI, "a", 0), "seconds_cpu", 900.0) is None


def test_what_the_truth_does_not_tell_does_not_count():
    unknown = [outcome(entry, "b", 0, mse_60=None) for entry in (SPI, PTI)]
    assert find(MSE, [*pair("a", 0, 1.0, 2.0), *unknown]).photos == 1


def test_a_claim_on_one_side_takes_both_signs_of_it_and_no_real_photo():
    claim = Claim("", "mse_60", "spi draft", "pti draft", 1.0, yaws_deg=(30,))
    outcomes = [
        *pair("a", 30, 1.0, 2.0),
        *pair("b", -30, 1.0, 2.0),
        *pair("a", 0, 9.0, 1.0),
        *pair("d", None, 9.0, 1.0),
    ]
    found = find(claim, outcomes)
    assert (found.photos, found.interval.value) == (2, 0.5)


@pytest.mark.parametrize(
    ("first", "verdict"),
    [((1, 1), "met"), ((3, 3), "missed"), ((0.1, 3), "met, not sure"), ((1.4, 2.2), "missed, not sure")],
)
def test_a_verdict_is_sure_where_the_whole_interval_agrees(first, verdict):
    outcomes = [*pair("a", 0, float(first[0]), 2.0), *pair("b", 0, float(first[1]), 2.0)]
    assert find(MSE, outcomes).verdict == verdict


def test_one_head_makes_nothing_sure():
    assert find(MSE, pair("a", 0, 1.0, 2.0)).verdict == "met, not sure"


def test_higher_scores_must_not_fall_below_the_limit():
    claim = Claim("", "ssim_input", "spi draft", "pti draft", -0.01, "difference")
    close = [*pair("a", 0, 0.895, 0.9, "ssim_input"), *pair("b", 0, 0.8, 0.8, "ssim_input")]
    far = [*pair("a", 0, 0.88, 0.9, "ssim_input"), *pair("b", 0, 0.78, 0.8, "ssim_input")]
    assert find(claim, close).verdict == "met"
    assert find(claim, close).interval.value == pytest.approx(-0.0025)
    assert find(claim, far).verdict == "missed"


def test_without_results_nothing_is_claimed():
    found = find(MSE, [])
    assert found.verdict == "no data"
    assert math.isnan(found.interval.value)


def test_every_claim_names_two_entries_that_can_be_typed():
    labels = {label for claim in asked("balanced") for label in (claim.first, claim.second)}
    assert "pti best" in labels and "protome balanced 3 photos" in labels
    assert all(label.split()[1] in ("balanced", "best") for label in labels)
