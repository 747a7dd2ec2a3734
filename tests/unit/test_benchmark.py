# SPDX-License-Identifier: Apache-2.0
"""The benchmark's table."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "invert.py"


def test_the_table_shows_medians_and_extremes():
    spec = importlib.util.spec_from_file_location("benchmark_invert", PATH)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    reports = [
        {"timings_s": {"refine": seconds}, "wall_s": seconds + 2, "peak_rss_mb": 900.0} for seconds in (5.0, 1.0, 3.0)
    ]
    assert benchmark.table(reports).splitlines()[2:] == [
        "| refine | 3.0 s | 1.0 s | 5.0 s |",
        "| whole process | 5.0 s | 3.0 s | 7.0 s |",
        "| peak memory | 900.0 MB | 900.0 MB | 900.0 MB |",
    ]
