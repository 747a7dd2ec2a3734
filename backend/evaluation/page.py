# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page: what was measured, how that compares with what is asked for, and every item's sheet."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from backend.evaluation.scores import Goal, ItemResult, Summary, is_reached, median_for, summarize
from backend.output import write_output

JPEG_QUALITY = 88
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 0.6em 0 1.6em; }
td, th { border-bottom: 1px solid #ddd; padding: 0.15em 0.9em 0.15em 0; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; } .no { color: #b00020; } .yes { color: #00701a; }
"""


@dataclass(frozen=True)
class Section:
    """A protocol's part of the page.

    Args:
        title: Of the part.
        text: What was done and what stands in the rows of the sheets.
        results: Of all items.
        goals: For medians.
        sheets: Folder of the items' pictures.
        groups: Headings and the items of each, for medians by group.
        group_scores: Names of the scores that are shown by group.
    """

    title: str
    text: str
    results: Sequence[ItemResult]
    goals: Sequence[Goal]
    sheets: Path
    groups: dict[str, list[ItemResult]]
    group_scores: Sequence[str]


def write_page(path: Path, facts: dict[str, str], sections: Sequence[Section], extra: str = "") -> None:
    """Write the page.

    Args:
        path: The file.
        facts: About the run, by name.
        sections: The parts.
        extra: More HTML before the parts.

    Raises:
        OutputError: The file cannot be written.
    """
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items())
    body = "".join(_section(section) for section in sections)
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Protome evaluation</title>'
        f"<style>{STYLE}</style></head><body><h1>Protome evaluation</h1><table>{rows}</table>"
        f"{extra}{body}</body></html>"
    )
    write_output(path, html.encode())


def true_codes_part(scores: Mapping[str, float], goals: Sequence[Goal], sheet: Path, heads: int) -> str:
    """HTML of what the generator shows when it is told everything."""
    rows = "".join(_goal_row(goal, scores.get(goal.score, math.nan)) for goal in goals)
    every = "".join(_row([name, number(value)]) for name, value in scores.items())
    text = (
        f"Means over {heads} people of the held-out seed, lit flatly, with the mean head's shape; in each pair of "
        "pictures the truth comes first."
    )
    return (
        f"<h2>Generator given true codes</h2><p>{text}</p>"
        f"<table>{_head(['', 'mean', 'goal', 'reached'])}{rows}</table>"
        f"<details><summary>By region</summary><table>{every}</table></details>{picture(sheet)}"
    )


def number(value: float) -> str:
    """A number for people; what failed is infinite."""
    if math.isnan(value):
        return "–"
    return "failed" if math.isinf(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def picture(path: Path) -> str:
    """A picture as part of the page."""
    with Image.open(path) as image:
        file = io.BytesIO()
        image.convert("RGB").save(file, format="JPEG", quality=JPEG_QUALITY)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _section(section: Section) -> str:
    summaries = summarize(section.results)
    items = "".join(_item(result, section) for result in section.results)
    return (
        f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>{_goals(section.goals, section.results)}"
        f"{_groups(section)}{_all(summaries)}{items}"
    )


def _goals(goals: Sequence[Goal], results: Sequence[ItemResult]) -> str:
    rows = ""
    for goal in goals:
        rows += _goal_row(goal, median_for(goal, results))
    return f"<h3>Goals</h3><table>{_head(['', 'median', 'goal', 'reached'])}{rows}</table>"


def _goal_row(goal: Goal, value: float) -> str:
    mark = '<span class="yes">yes</span>' if is_reached(goal, value) else '<span class="no">no</span>'
    return _row([escape(goal.meaning), number(value), number(goal.limit), mark])


def _groups(section: Section) -> str:
    if not section.groups:
        return ""
    rows = ""
    for heading, results in section.groups.items():
        medians = {summary.name: summary.median for summary in summarize(results)}
        rows += _row(
            [heading, str(len(results)), *(number(medians.get(name, math.nan)) for name in section.group_scores)]
        )
    return f"<h3>Medians by group</h3><table>{_head(['', 'items', *section.group_scores])}{rows}</table>"


def _all(summaries: Sequence[Summary]) -> str:
    rows = "".join(
        _row([one.name, number(one.median), number(one.worst), str(one.count), str(one.failed)])
        for one in summaries
        if not one.name.startswith("yaw")
    )
    head = _head(["score", "median", "worst 10 %", "items", "failed"])
    return f"<details><summary>All scores</summary><table>{head}{rows}</table></details>"


def _item(result: ItemResult, section: Section) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in result.notes)
    if result.failure:
        return (
            f'<h3>{escape(result.name)}</h3>{notes}<p class="no">Failed ({result.code}): {escape(result.failure)}</p>'
        )
    known = {goal.score: result.scores.get(goal.score) for goal in section.goals}
    line = ", ".join(f"{name} {number(value)}" for name, value in known.items() if value is not None)
    return f"<h3>{escape(result.name)}</h3>{notes}<p>{line}</p>{picture(section.sheets / f'{result.name}.png')}"


def _head(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<th>{cell}</th>" for cell in cells) + "</tr>"


def _row(cells: Sequence[str]) -> str:
    first, *rest = cells
    return f"<tr><td>{first}</td>" + "".join(f'<td class="n">{cell}</td>' for cell in rest) + "</tr>"
