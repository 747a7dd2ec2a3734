# SPDX-License-Identifier: Apache-2.0
import pytest

from backend import pace


def test_a_pace_is_seconds_here_over_seconds_there(monkeypatch):
    monkeypatch.setattr(pace, "refining_s", lambda device: 3 * pace.REFINING_S)
    monkeypatch.setattr(pace, "other_s", lambda: 0.5 * pace.OTHER_S)
    measured = pace.measure_pace("cpu")
    assert (measured.refining, measured.other) == pytest.approx((3.0, 0.5))


def test_the_quickest_run_counts_and_the_first_does_not(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 29.0, 30.0, 33.0, 40.0, 44.0])
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(clock))
    calls = []
    assert pace._best_of(lambda: calls.append(None)) == 2.0
    assert len(calls) == pace.REPEATS + 1


def test_the_benchmark_takes_about_a_second_and_says_something():
    assert 1e-4 < pace.other_s() < 5
    assert 1e-4 < pace.refining_s("cpu") < 5
