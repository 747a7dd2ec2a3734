# SPDX-License-Identifier: Apache-2.0
"""What a piece of work costs: processor time, time on the wall, and memory on top of what was held before."""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
STATUS, FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """Of one piece of work.

    Args:
        seconds_cpu: Of all threads of this process together.
        seconds_wall: Passed on the clock.
        peak_mb: Most memory held on top of what was held before, MB of 1e6 bytes; None where the system does not say.
    """

    seconds_cpu: float
    seconds_wall: float
    peak_mb: float | None


def measured(work: Callable[[], Result]) -> tuple[Result, Cost]:
    """Do it, and say what it cost."""
    before = _forget_peak()
    start_cpu, start = time.process_time(), time.perf_counter()
    result = work()
    seconds_cpu, seconds_wall = time.process_time() - start_cpu, time.perf_counter() - start
    peak = None if before is None else (_held("VmHWM") - before) / 1e6
    return result, Cost(seconds_cpu, seconds_wall, peak)


def _forget_peak() -> int | None:
    """Let the highest memory so far be what is held now, and tell it in bytes; None where that cannot be (proc(5)).

    What earlier work has left with the allocator is given back first, or the next work would seem to need none.
    """
    if not FORGET_PEAK.exists():
        return None
    gc.collect()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # The GNU C library's.
    if give_back is not None:
        give_back(0)
    try:
        FORGET_PEAK.write_text("5")
    except OSError:
        return None
    return _held("VmHWM")


def _held(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
