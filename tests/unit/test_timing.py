# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

from backend.errors import Cancelled
from backend.progress import Progress
from backend.timing import Forecast, StageClock, peak_rss_mb


class FakeTime:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def clock_with(expected_s):
    time, reports = FakeTime(), []
    return StageClock(expected_s, reports.append, now=time), time, reports


def test_fraction_is_the_share_of_the_expected_time():
    clock, _, reports = clock_with({"photo": 1, "refine": 8, "mesh": 1})
    with clock.stage("photo"):
        pass
    with clock.stage("refine"):
        clock.advance(0.5)
    with clock.stage("mesh"):
        clock.advance(1)
    assert [report.fraction for report in reports] == pytest.approx([0, 0.1, 0.5, 0.9, 1])
    assert [report.stage for report in reports] == ["photo", "refine", "refine", "mesh", "mesh"]


def test_fraction_never_falls():
    clock, _, reports = clock_with({"fit": 5, "refine": 5})
    with clock.stage("refine"):
        clock.advance(0.5)
        clock.advance(0.2)
    with clock.stage("fit"):
        clock.advance(0.1)
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions)


def test_eta_is_exact_on_a_machine_of_constant_slowness():
    clock, time, reports = clock_with({"photo": 1, "refine": 8, "mesh": 1})
    with clock.stage("photo"):
        time.now_s += 3
    with clock.stage("refine"):
        time.now_s += 12
        clock.advance(0.5)
        time.now_s += 12
    with clock.stage("mesh"):
        pass
    assert reports[0].eta_s is None
    assert [report.eta_s for report in reports[1:]] == pytest.approx([27, 15, 3])


def test_running_stage_is_judged_by_its_own_speed():
    clock, time, reports = clock_with({"photo": 1, "refine": 10})
    with clock.stage("photo"):
        time.now_s += 1
    with clock.stage("refine"):
        time.now_s += 30
        clock.advance(0.5)
    assert reports[-1].eta_s == pytest.approx(30)


def test_timings_add_up_when_a_stage_is_entered_twice_and_survive_errors():
    clock, time, _ = clock_with({"mesh": 1})
    with clock.stage("mesh"):
        time.now_s += 2
    with pytest.raises(KeyError), clock.stage("mesh"):
        time.now_s += 3
        raise KeyError
    assert clock.timings_s == {"mesh": 5}


def test_cancel_from_the_report_ends_the_stage():
    def cancel(progress: Progress) -> None:
        raise Cancelled("Cancelled.")

    clock = StageClock({"mesh": 1}, cancel)
    with pytest.raises(Cancelled), clock.stage("mesh"):
        pytest.fail("the stage ran")


def test_mistakes_of_the_caller_are_value_errors():
    clock, _, _ = clock_with({"photo": 1, "mesh": 1})
    with pytest.raises(ValueError, match="unknown stage"), clock.stage("paint"):
        pass
    with pytest.raises(ValueError, match="needs a running stage"):
        clock.advance(0.5)
    with pytest.raises(ValueError, match="while 'photo' is running"), clock.stage("photo"), clock.stage("mesh"):
        pass
    for expected_s in ({}, {"mesh": 0}):
        with pytest.raises(ValueError, match="above 0"):
            StageClock(expected_s, print)


def test_peak_memory_grows_by_what_is_touched_and_does_not_fall():
    code = (
        "from backend.timing import peak_rss_mb\n"
        "before = peak_rss_mb()\n"
        "block = bytearray(b'x') * 100_000_000\n"
        "del block\n"
        "print(peak_rss_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 90 < float(done.stdout) < 130
    assert peak_rss_mb() > 5


def test_a_forecast_in_words():
    assert Forecast(44.6, "2 CPU threads").sentence == "This takes about 45 s on this machine (2 CPU threads)."
    assert "about 3 min on this machine (CUDA)" in Forecast(170.0, "CUDA").sentence
    assert "not known yet" in Forecast(None, "CUDA").sentence
