# SPDX-License-Identifier: Apache-2.0
"""The comparison of inversion methods for people: tables in Markdown and HTML, a CSV, a sheet of pictures."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from backend.evaluation.inversion_claims import Finding, Outcome, value_of, worst_of
from backend.evaluation.page import STYLE, number, picture
from backend.evaluation.run import ITEMS
from backend.evaluation.scores import badness
from backend.evaluation.sheet import CAPTION_PX, COLUMNS, INK, PAPER
from backend.output import write_output

SHOWN = {
    "mse_input": "MSE photo", "ssim_input": "SSIM photo", "ms_ssim_input": "MS-SSIM photo",
    "mse_unseen": "MSE unseen", "ssim_unseen": "SSIM unseen", "ms_ssim_unseen": "MS-SSIM unseen",
    "mse_60": "MSE ±60°", "identity_excess_60": "identity excess ±60°", "depth_mm_input": "depth photo, mm",
    "depth_mm_60": "depth ±60°, mm", "normals_deg_input": "normals photo, °", "normals_deg_60": "normals ±60°, °",
    "face_median_mm": "face, mm", "chamfer_mm": "head, mm", "seconds_cpu": "processor, s", "seconds_wall": "wall, s",
    "peak_mb": "memory, MB",
}  # fmt: skip
OF_PHOTOS = {
    "mse_input": "MSE photo", "ssim_input": "SSIM photo", "ms_ssim_input": "MS-SSIM photo",
    "identity_+0": "identity 0°", "identity_60": "identity ±60°", "seconds_cpu": "processor, s",
    "seconds_wall": "wall, s", "peak_mb": "memory, MB",
}  # fmt: skip
LABEL_PX, ROW_PX = 150, 160


@dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Args:
        title: Above it.
        head: Of the columns.
        rows: One text per column; a best one is between ``**``.
    """

    title: str
    head: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """For a document."""
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.rows]
        return f"**{self.title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def html(self) -> str:
        """For a page."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.head)
        body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in self.rows)
        return f"<h3>{escape(self.title)}</h3><table><tr>{head}</tr>{body}</table>"


def _cell(text: str) -> str:
    bare = escape(text.replace("**", ""))
    return f'<td class="n"><b>{bare}</b></td>' if text.startswith("**") else f'<td class="n">{bare}</td>'


def method_tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """Means by entry: a table for each set of photos that some entry worked on, with all that worked on all of them.

    So no entry is compared on easier photos than another. The largest set comes first, then its photos by their side.
    """
    heads = [one for one in outcomes if one.yaw_deg is not None]
    tables = []
    for number_of_set, photos in enumerate(_photo_sets(heads)):
        tables.append(_means(heads, photos, _title(heads, photos), SHOWN))
        if number_of_set == 0:
            for yaw in sorted({abs(one.yaw_deg or 0) for one in heads if one.item in photos}):
                chosen = {one.item for one in heads if one.item in photos and abs(one.yaw_deg or 0) == yaw}
                tables.append(_means(heads, chosen, f"Of these, those from {yaw:.0f}°: {len(chosen)}", SHOWN))
    real = [one for one in outcomes if one.yaw_deg is None]
    for photos in _photo_sets(real):
        tables.append(_means(real, photos, f"Real photos: {', '.join(sorted(photos))}", OF_PHOTOS))
    return tables


def _photo_sets(outcomes: Sequence[Outcome]) -> list[set[str]]:
    """What photos entries have worked on, without repetition, the largest first."""
    by_entry: dict[str, set[str]] = {}
    for one in outcomes:
        by_entry.setdefault(one.entry.label, set()).add(one.item)
    distinct = {frozenset(photos) for photos in by_entry.values()}
    return [set(photos) for photos in sorted(distinct, key=lambda photos: (-len(photos), sorted(photos)))]


def _title(outcomes: Sequence[Outcome], photos: set[str]) -> str:
    subjects = {one.subject for one in outcomes if one.item in photos}
    return f"Held-out heads: {len(subjects)}; photos: {len(photos)} ({', '.join(sorted(photos))})"


def _means(outcomes: Sequence[Outcome], photos: set[str], title: str, shown: dict[str, str]) -> Table:
    by_entry: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.item in photos:
            by_entry.setdefault(one.entry.label, []).append(one)
    complete = {label: found for label, found in by_entry.items() if len(found) == len(photos)}
    columns = [_column(score, list(complete.values()), outcomes) for score in shown]
    failed = [str(sum(bool(one.result.failure) for one in found)) for found in complete.values()]
    rows = [list(row) for row in zip(complete, failed, *columns, strict=True)]
    return Table(title, ["method", "failed", *shown.values()], rows)


def _column(score: str, rows: Sequence[Sequence[Outcome]], outcomes: Sequence[Outcome]) -> list[str]:
    """The mean of each row, the best one marked."""
    worst = worst_of(score, outcomes)
    means = []
    for row in rows:
        values = [value for one in row if (value := value_of(one, score, worst)) is not None]
        means.append(sum(values) / len(values) if values else math.nan)
    known = [mean for mean in means if not math.isnan(mean)]
    best = min(known, key=lambda mean: badness(score, mean), default=math.nan)
    return [f"**{number(mean)}**" if mean == best and len(known) > 1 else number(mean) for mean in means]


def claim_table(findings: Sequence[Finding]) -> Table:
    """What is asked, what was found, and between what it lies in 95 of 100 draws of the heads."""
    rows = []
    for one in findings:
        span = "–" if math.isnan(one.interval.low) else f"{number(one.interval.low)} to {number(one.interval.high)}"
        rows.append([
            one.claim.meaning, number(one.interval.value), span, number(one.claim.limit), one.verdict,
            str(one.photos), str(one.subjects), str(one.failures),
        ])  # fmt: skip
    head = ["asked", "found", "95 %", "limit", "", "photos", "heads", "failed"]
    return Table("What is asked, on held-out heads", head, rows)


def failure_table(outcomes: Sequence[Outcome]) -> Table:
    """Everything that failed, with the reason."""
    rows = [[one.item, one.entry.label, one.result.failure] for one in outcomes if one.result.failure]
    return Table(f"Failures: {len(rows)} of {len(outcomes)}", ["photo", "method", "reason"], rows)


def method_sheet(out: Path, outcomes: Sequence[Outcome]) -> Image.Image:
    """One photo's pictures: the truth, then what each entry made of it.

    Args:
        out: Folder of the results.
        outcomes: Of that photo; those that failed have no picture.
    """
    rows: list[tuple[str, list[UInt8[np.ndarray, "s s 3"]]]] = []
    for one in outcomes:
        if not one.result.failure:
            true, made = _rows_of(out / ITEMS / f"{one.result.name}.png")
            rows += [(one.item, true)] * (not rows) + [(one.entry.label, made)]
    sheet = Image.new("RGB", (LABEL_PX + len(COLUMNS) * ROW_PX, CAPTION_PX + len(rows) * ROW_PX), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for column, caption in enumerate(COLUMNS):
        place = (LABEL_PX + (column + 0.5) * ROW_PX, CAPTION_PX / 2)
        draw.text(place, caption, fill=INK, font=font, anchor="mm")
    for line, (label, pictures) in enumerate(rows):
        top = CAPTION_PX + line * ROW_PX
        draw.text((8, top + ROW_PX / 2), label, fill=INK, font=font, anchor="lm")
        for column, one_picture in enumerate(pictures):
            small = Image.fromarray(one_picture).resize((ROW_PX, ROW_PX), Image.Resampling.LANCZOS)
            sheet.paste(small, (LABEL_PX + column * ROW_PX, top))
    return sheet


def _rows_of(path: Path) -> list[list[UInt8[np.ndarray, "s s 3"]]]:
    """The pictures of an item's sheet, see ``sheet.sheet``."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    side = pixels.shape[1] // len(COLUMNS)
    tops = range(CAPTION_PX, len(pixels), side)
    return [[pixels[top : top + side, left : left + side] for left in range(0, pixels.shape[1], side)] for top in tops]


def write_csv(path: Path, outcomes: Sequence[Outcome]) -> None:
    """One line for each photo and entry; a score that it lacks is empty.

    Raises:
        OutputError: The file cannot be written.
    """
    names = list(dict.fromkeys(name for one in outcomes for name in one.result.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "subject", "yaw_deg", "method", "quality", "photos", "failure", *names])
    for one in outcomes:
        values = [one.result.scores.get(name) for name in names]
        entry = one.entry
        start = [one.item, one.subject, "" if one.yaw_deg is None else one.yaw_deg, entry.method, entry.quality]
        cells = ["" if value is None else f"{value:.6g}" for value in values]
        writer.writerow([*start, entry.photos, one.result.failure, *cells])
    write_output(path, text.getvalue().encode())


def write_pages(out: Path, tables: Sequence[Table], sheets: Sequence[Path], facts: str) -> None:
    """``tables.md`` with the tables, and ``index.html`` with the sheets too.

    Args:
        out: The folder.
        tables: In their order.
        sheets: Picture files.
        facts: About the run.

    Raises:
        OutputError: A file cannot be written.
    """
    write_output(out / "tables.md", "\n".join([facts, "", *(table.markdown() for table in tables)]).encode())
    body = "".join(table.html() for table in tables) + "".join(picture(path) for path in sheets)
    title = "Protome: inversion methods"
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1><p>{escape(facts)}</p>{body}</body></html>"
    )
    write_output(out / "index.html", html.encode())
