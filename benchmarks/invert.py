# SPDX-License-Identifier: Apache-2.0
"""How long the main job takes, stage by stage: medians over several runs in fresh processes.

.venv/bin/python benchmarks/invert.py --runs 3 [PHOTO] [any options of `python -m backend invert`]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the job several times and print a table; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("photo", nargs="?", help="the sample portrait otherwise")
    options, invert_options = parser.parse_known_args()
    source = [options.photo] if options.photo else ["--sample"]
    reports = []
    for number in range(options.runs):
        report = invert([*source, *invert_options])
        if report is None:
            return 1
        reports.append(report)
        print(f"run {number + 1} of {options.runs}: {report['wall_s']:.1f} s", file=sys.stderr)
    print(table(reports))
    return 0


def invert(arguments: list[str]) -> dict[str, Any] | None:
    """One run in a process of its own; its report with the wall time added, or None after a failure."""
    with tempfile.TemporaryDirectory() as folder:
        report_path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "backend", "invert", *arguments]
        command += ["-o", str(Path(folder) / "head.glb"), "--report", str(report_path)]
        start = time.perf_counter()
        run = subprocess.run(command, cwd=Path.cwd(), env=os.environ | {"PYTHONPATH": str(ROOT)})
        wall_s = time.perf_counter() - start
        if run.returncode != 0:
            return None
        report: dict[str, Any] = json.loads(report_path.read_text(encoding="utf-8"))
        return report | {"wall_s": wall_s}


def table(reports: list[dict[str, Any]]) -> str:
    """Medians per stage, the whole run and the memory peak, as a Markdown table."""
    stages = list(reports[0]["timings_s"])
    rows = [(stage, [report["timings_s"][stage] for report in reports], "s") for stage in stages]
    rows.append(("whole process", [report["wall_s"] for report in reports], "s"))
    rows.append(("peak memory", [report["peak_rss_mb"] for report in reports], "MB"))
    lines = ["| stage | median | lowest | highest |", "|---|---:|---:|---:|"]
    for name, values, unit in rows:
        cells = [f"{value:.1f} {unit}" for value in (statistics.median(values), min(values), max(values))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
