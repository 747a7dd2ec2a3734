# SPDX-License-Identifier: Apache-2.0
"""Works through items one by one; what is done is kept and not done again, what fails is kept as a failure."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.batch import SHARED_REASONS
from backend.errors import ModelError
from backend.evaluation.scores import ItemResult
from backend.evaluation.sheet import sheet
from backend.jobs import Failure, attempt
from backend.output import make_folder, write_output
from backend.staging import staging

ITEMS = "items"
Log = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What the work on an item gives.

    Args:
        scores: By name.
        pictures: Rows of the item's sheet.
        notes: In words.
    """

    scores: dict[str, float | None]
    pictures: list[list[np.ndarray]]
    notes: list[str]


@dataclass(frozen=True)
class Job:
    """An item to be done.

    Args:
        name: Of its files.
        fingerprint: JSON-ready; a result made with another one is made anew.
        work: Makes the result.
    """

    name: str
    fingerprint: dict[str, Any]
    work: Callable[[], Measured]


def run_jobs(jobs: Sequence[Job], out: Path, log: Log) -> list[ItemResult]:
    """Do all items that are not done; each leaves ``items/NAME.json`` and, if it went well, ``items/NAME.png``.

    Raises:
        OutputError: A result cannot be written.
        ModelError: Something that every item needs is missing or damaged.
    """
    folder = out / ITEMS
    make_folder(folder)
    results = []
    for job in jobs:
        result = read_result(folder, job)
        log(f"{job.name}: {'done before' if result else 'working'}")
        results.append(result or _do(job, folder))
        if results[-1].failure:
            log(f"{job.name}: failed: {results[-1].failure}")
    return results


def _do(job: Job, folder: Path) -> ItemResult:
    done = attempt(job.work)
    if isinstance(done, Failure) and done.code in SHARED_REASONS:
        raise ModelError(done.message, code=done.code)
    if isinstance(done, Failure):
        result = ItemResult(job.name, failure=done.message, code=done.code)
    else:
        result = ItemResult(job.name, done.scores, done.notes)
    content = json.dumps({"fingerprint": job.fingerprint, **asdict(result)}, indent=1).encode()
    with staging() as stage:
        if not isinstance(done, Failure):
            stage(folder / f"{job.name}.png", sheet(done.pictures).save)
        stage(folder / f"{job.name}.json", lambda path: write_output(path, content))
    return result


def missing(jobs: Sequence[Job], out: Path) -> list[Job]:
    """Jobs that no earlier run has done."""
    return [job for job in jobs if read_result(out / ITEMS, job) is None]


def read_result(folder: Path, job: Job) -> ItemResult | None:
    """The result that an earlier run left for the same work; None if there is none or it cannot be read."""
    try:
        content = json.loads((folder / f"{job.name}.json").read_text(encoding="utf-8"))
        is_same = content.pop("fingerprint") == job.fingerprint
        result = ItemResult(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    has_sheet = bool(result.failure) or (folder / f"{job.name}.png").exists()
    return result if is_same and has_sheet else None


def write_table(path: Path, results: Sequence[ItemResult]) -> None:
    """One line for each item; a score that an item lacks is empty.

    Raises:
        OutputError: The file cannot be written.
    """
    names = list(dict.fromkeys(name for result in results for name in result.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["item", "failure", "reason", "notes", *names])
    for result in results:
        values = [result.scores.get(name) for name in names]
        cells = ["" if value is None else f"{value:.6g}" for value in values]
        writer.writerow([result.name, result.code, result.failure, " ".join(result.notes), *cells])
    write_output(path, text.getvalue().encode())
