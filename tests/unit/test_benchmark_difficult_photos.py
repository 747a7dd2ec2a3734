# SPDX-License-Identifier: Apache-2.0
"""The table of difficult photos."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "difficult_photos.py"


def test_refused_photos_are_counted_and_not_averaged():
    spec = importlib.util.spec_from_file_location("benchmark_difficult_photos", PATH)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    scores = {"face_mm": 1.0, "head_mm": 6.0, "error_mm": 2.4, "outside_percent": 4.0, "confidence": 0.5}
    rows = [
        {"head": "head-200", "difficulty": "hat", **scores},
        {"head": "head-201", "difficulty": "hat", **scores, "face_mm": 2.0},
        {"head": "head-202", "difficulty": "hat", "failure": "no_face"},
        {"head": "head-200", "difficulty": "hand", "failure": "no_face"},
    ]
    lines = benchmark.table(rows).splitlines()
    assert "| hat | 3 | 1 | 1.50 | 6.00 | 4.00 | 0.50 |" in lines
    assert "| hand | 1 | 1 | – | – | – | – |" in lines
    assert "| plain | 0 | 0 | – | – | – | – |" in lines
