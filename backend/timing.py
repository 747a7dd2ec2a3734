# SPDX-License-Identifier: Apache-2.0
"""How long a job's stages take, how far it is, when it will end, and how much memory it used."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.progress import Progress, Report


class StageClock:
    """Times the stages of one job and reports its progress.

    Stages left out count as done once a later one starts. The time still needed is the expected time of what is
    left, corrected by how much slower or faster than expected this machine has been so far.

    Args:
        expected_s: Stage name to expected seconds, in order; only their shares matter for the fraction.
        report: Gets a ``Progress`` at each stage's start and at each ``advance``; may raise ``Cancelled``.
        now: A clock in seconds.

    Raises:
        ValueError: An expected time is not above 0, or there is no stage.
    """

    def __init__(
        self, expected_s: Mapping[str, float], report: Report, *, now: Callable[[], float] = time.perf_counter
    ) -> None:
        if not expected_s or min(expected_s.values()) <= 0:
            raise ValueError("A clock needs stages, each with an expected time above 0.")
        self._expected_s = dict(expected_s)
        self._report = report
        self._now = now
        self._stage: str | None = None
        self._stage_start_s = 0.0
        self._fraction = 0.0
        self.timings_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; entered again, a stage adds to its time.

        Raises:
            ValueError: The stage is not one of the expected, or another one is running.
        """
        if name not in self._expected_s:
            raise ValueError(f"unknown stage {name!r}, expected one of {', '.join(self._expected_s)}")
        if self._stage is not None:
            raise ValueError(f"stage {name!r} starts while {self._stage!r} is running")
        self._stage, self._stage_start_s = name, self._now()
        try:
            self.advance(0.0)
            yield
        finally:
            self._stage = None
            self.timings_s[name] = self.timings_s.get(name, 0.0) + self._now() - self._stage_start_s

    def advance(self, stage_fraction: float) -> None:
        """Report how much of the running stage is done, 0 to 1.

        Raises:
            ValueError: No stage is running.
        """
        if self._stage is None:
            raise ValueError("advance needs a running stage")
        stage_fraction = min(max(stage_fraction, 0.0), 1.0)
        self._fraction = max(self._fraction, self._done_share(self._stage, stage_fraction))
        self._report(Progress(self._stage, self._fraction, self._eta_s(self._stage, stage_fraction)))

    def _done_share(self, stage: str, stage_fraction: float) -> float:
        before_s = _sum_before(self._expected_s, stage)
        done_s = before_s + stage_fraction * self._expected_s[stage]
        return min(done_s / sum(self._expected_s.values()), 1.0)

    def _eta_s(self, stage: str, stage_fraction: float) -> float | None:
        stage_s = self._now() - self._stage_start_s
        expected_s = self._expected_s[stage]
        seen_s = stage_s + sum(self.timings_s.values())
        seen_expected_s = stage_fraction * expected_s + sum(self._expected_s[name] for name in self.timings_s)
        if seen_s <= 0 or seen_expected_s <= 0:
            return None
        slowness = seen_s / seen_expected_s
        rest_of_stage_s = (1 - stage_fraction) * expected_s * slowness
        if stage_fraction > 0:
            rest_of_stage_s = stage_s * (1 - stage_fraction) / stage_fraction
        after_s = sum(self._expected_s.values()) - _sum_before(self._expected_s, stage) - expected_s
        return rest_of_stage_s + after_s * slowness


def _sum_before(expected_s: Mapping[str, float], stage: str) -> float:
    names = list(expected_s)
    return sum(expected_s[name] for name in names[: names.index(stage)])


@dataclass(frozen=True)
class Forecast:
    """What can be said before a run.

    Args:
        seconds: It will take; None for a generator that has never run here.
        place: Where it is computed, in words.
    """

    seconds: float | None
    place: str

    @property
    def sentence(self) -> str:
        """For people."""
        if self.seconds is None:
            return "How long this model takes on this machine is not known yet; this run will tell."
        return f"This takes about {duration_text(self.seconds)} on this machine ({self.place})."


def duration_text(seconds: float) -> str:
    """A duration as a person says it."""
    return f"{max(seconds, 1):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def peak_rss_mb() -> float:
    """Most memory this process has held at once, in MB of 1e6 bytes.

    Raises:
        OSError: The system does not say.
    """
    if sys.platform == "win32":
        return _windows_peak_rss_bytes() / 1e6
    status = Path("/proc/self/status")
    if status.exists():
        # Linux lets ru_maxrss start at the parent's peak, so that a small child of a large process looks large.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


def _windows_peak_rss_bytes() -> int:
    """PeakWorkingSetSize of PROCESS_MEMORY_COUNTERS, Windows API ``psapi.h``."""
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", wintypes.DWORD),
            ("PageFaultCount", wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
            ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
            ("PagefileUsage", ctypes.c_size_t),
            ("PeakPagefileUsage", ctypes.c_size_t),
        )

    counters = Counters()
    counters.cb = ctypes.sizeof(Counters)
    library = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    library.GetCurrentProcess.restype = wintypes.HANDLE
    query = library.K32GetProcessMemoryInfo
    query.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
    if not query(library.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
        raise OSError("Windows does not say how much memory this process used")
    return int(counters.PeakWorkingSetSize)
