# SPDX-License-Identifier: Apache-2.0
"""Measures the starter model's sliders and writes docs/sliders.csv and docs/sliders.md: a few minutes.

.venv/bin/python scripts/measure_sliders.py [--model FILE] [--heads 3] [--out docs]
"""

import csv
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.folders import starter_path  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.starter import load_starter  # noqa: E402
from backend.training.command import run_command, script_parser  # noqa: E402
from backend.training.slider_report import ATTRIBUTES, SliderScore, score_sliders  # noqa: E402

LEAK = 0.15  # Standard deviations of another attribute for each unit of a slider that are worth naming.


def main() -> int:
    """Parse the command line, measure, write."""
    parser = script_parser(__doc__)
    parser.add_argument("--model", type=Path, default=starter_path())
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()

    def measure(log: Log) -> None:
        scores = score_sliders(load_starter(options.model), heads=options.heads, log=log)
        write_csv(options.out / "sliders.csv", scores)
        (options.out / "sliders.md").write_text(to_markdown(scores, options.heads), encoding="utf-8")

    return run_command("measure_sliders", measure)


def write_csv(path: Path, scores: list[SliderScore]) -> None:
    """One row per slider, with the whole leakage matrix."""
    head = ["slider", "group", "minimum", "maximum", "own attribute", "spearman", "effect per unit"]
    head += ["identity at minimum", "identity at maximum", "flipped triangles"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*head, *(f"leak: {name}" for name in ATTRIBUTES)])
        for one in scores:
            numbers = [one.spearman, one.effect, *one.identity, one.flipped, *one.leakage]
            writer.writerow([one.name, one.group, *one.reach, one.own, *(_number(value) for value in numbers)])


def to_markdown(scores: list[SliderScore], heads: int) -> str:
    """A page with a table per group and what it means."""
    lines = [
        "# The starter model's sliders, measured",
        "",
        f"Made by `scripts/measure_sliders.py` on {heads} heads; the whole leakage matrix is in `sliders.csv`.",
        "*Effect*: change of the slider's own attribute per unit, in its standard deviations over people; for sliders",
        "without an attribute of their own, how far the vertex that moves furthest goes, in mm. *Leaks*: other",
        f"attributes that change by more than {LEAK} standard deviations per unit. *Identity*: distance of the face",
        "descriptor to the unmoved head at both ends of the range (0.6 is another person). *Flipped*: share of the",
        "exported mesh's triangles that turn over at an end of the range; the mesh stays closed, because no slider",
        "changes its topology.",
    ]
    for group in dict.fromkeys(one.group for one in scores):
        lines += ["", f"## {group}", "", "| slider | range | Spearman | effect | leaks | identity | flipped |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_row(one) for one in scores if one.group == group]
    return "\n".join(lines) + "\n"


def _row(one: SliderScore) -> str:
    effect = f"{1000 * one.effect:.1f} mm" if one.own not in ATTRIBUTES else f"{one.effect:.2f} sd"
    worst = [number for number in np.argsort(-np.nan_to_num(np.abs(one.leakage))) if abs(one.leakage[number]) > LEAK]
    leaks = ", ".join(f"{ATTRIBUTES[number]} {one.leakage[number]:+.2f}" for number in worst[:3])
    if one.group in ("Expression", "Pose", "ARKit"):
        leaks = "-"
    identity = " / ".join(f"{value:.2f}" for value in one.identity)
    reach = f"{one.reach[0]:g} to {one.reach[1]:g}"
    return (
        f"| {one.name} | {reach} | {one.spearman:.2f} | {effect} | {leaks or 'none'} | {identity} | "
        f"{100 * one.flipped:.2f} % |"
    )


def _number(value: float) -> str:
    return f"{value:.5g}"


if __name__ == "__main__":
    sys.exit(main())
