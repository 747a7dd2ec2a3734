# SPDX-License-Identifier: Apache-2.0
import sys
import time

import numpy as np
import pytest

from backend.evaluation import cost
from backend.evaluation.cost import measured

MB = 10**6


def hold(size_mb):
    return int(np.ones(size_mb * MB, np.uint8).sum()) // MB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a process's peak")
def test_the_peak_is_that_of_the_work_whatever_was_held_at_once_before():
    hold(300)
    result, found = measured(lambda: hold(100))
    assert result == 100
    assert found.peak_mb == pytest.approx(100, abs=20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a process's peak")
def test_memory_that_earlier_work_left_with_the_allocator_is_not_free():
    def many_pieces():
        return len([bytearray(1000) for _ in range(50_000)])

    first, second = (measured(many_pieces)[1].peak_mb for _ in range(2))
    assert second == pytest.approx(first, abs=20)
    assert second > 40


def test_waiting_takes_time_on_the_wall_and_not_of_the_processor():
    _, found = measured(lambda: time.sleep(0.2))
    assert found.seconds_wall >= 0.2
    assert found.seconds_cpu < 0.1


def test_without_the_system_s_help_no_peak_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "FORGET_PEAK", tmp_path / "none" / "such")
    assert measured(lambda: 1)[1].peak_mb is None
