# SPDX-License-Identifier: Apache-2.0
"""Measures single-photo reconstruction: on held-out synthetic heads whose truth is known, and on real photos.

Run it in the project's environment with requirements-train.txt installed:

    .venv/bin/python scripts/evaluate.py --assets FOLDER --out FOLDER [--items 6] [--photos FOLDER] [--quality draft]

Writes FOLDER/heads.csv and photos.csv (one line for each item), index.html with all tables and pictures, and items/.
Interrupted, it goes on with the items that are missing. An item that fails is listed with its reason and counts as the
worst in every median.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.config import Quality, Settings  # noqa: E402
from backend.errors import SettingsError  # noqa: E402
from backend.evaluation.command import held_out_source, measuring_parser  # noqa: E402
from backend.evaluation.held_out import LIST, SEED, draw_list, read_list, write_list  # noqa: E402
from backend.evaluation.page import Section, number, true_codes_part, write_page  # noqa: E402
from backend.evaluation.protocol import (  # noqa: E402
    Bench,
    chosen_heads,
    find_photos,
    held_out_jobs,
    held_out_section,
    list_with_hashes,
    photo_jobs,
    photo_section,
)
from backend.evaluation.run import missing, run_jobs, write_table  # noqa: E402
from backend.evaluation.scores import median_for  # noqa: E402
from backend.evaluation.true_codes import (  # noqa: E402
    GOALS,
    described_heads,
    measure_true_codes,
    starter_generator,
)
from backend.output import make_folder  # noqa: E402
from backend.portrait_model.opening import open_model  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.staging import staging  # noqa: E402
from backend.training.command import run_command  # noqa: E402
from backend.training.portrait_source import PortraitSource  # noqa: E402

LISTED = 12


def main() -> int:
    """Parse the command line and measure."""
    options = _parser().parse_args()

    def measure(log: Log) -> None:
        source = held_out_source(options.assets, options.work, log)
        make_folder(options.out)
        if options.write_list:
            _write_list(source(), options.out, log)
        else:
            _evaluate(options, source, log)

    return run_command("evaluate", measure)


def _evaluate(options: argparse.Namespace, source: Callable[[], PortraitSource], log: Log) -> None:
    settings = Settings(model=options.model, quality=options.quality)
    identity = open_model(settings).identity  # Before minutes of work, and for the page.
    bench = Bench(settings, options.out, log)
    held_out = chosen_heads(read_list(), options.items if options.assets or options.items is not None else 0)
    sections: list[Section] = []
    extra = _true_codes(options, source, log) if options.true_codes else ""
    if held_out.heads:
        jobs = held_out_jobs(bench, held_out, source)
        if missing(jobs, options.out):
            source()  # Assets that are missing stop the run; they are no failure of a head.
        results = run_jobs(jobs, options.out, log)
        write_table(options.out / "heads.csv", results)
        sections.append(held_out_section(options.out, results, held_out))
    if options.photos:
        results = run_jobs(photo_jobs(bench, find_photos(options.photos)), options.out, log)
        write_table(options.out / "photos.csv", results)
        sections.append(photo_section(options.out, results))
    if not sections and not extra:
        raise SettingsError("There is nothing to do: give --assets for held-out heads, or --photos for a folder.")
    facts = {
        "model": identity["id"], "quality": settings.quality, "device": settings.device,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip
    write_page(options.out / "index.html", facts, sections, extra)
    for section in sections:
        for goal in section.goals:
            log(f"{goal.meaning}: {number(median_for(goal, section.results))} (goal {goal.limit:g})")
    log(f"wrote {options.out / 'index.html'}")


def _true_codes(options: argparse.Namespace, source: Callable[[], PortraitSource], log: Log) -> str:
    generator = starter_generator(options.model)
    heads = described_heads(source(), SEED, options.true_codes)
    scores, sheet = measure_true_codes(generator, source(), heads)
    path = options.out / "true_codes.png"
    with staging() as stage:
        stage(path, Image.fromarray(sheet).save)
    log(f"generator given true codes: {scores}")
    return true_codes_part(scores, GOALS, path, len(heads))


def _write_list(source: PortraitSource, out: Path, log: Log) -> None:
    def keep(photo: UInt8[np.ndarray, "s s 3"], name: str) -> None:
        Image.fromarray(photo).save(out / f"{name}.png")

    write_list(LIST, list_with_hashes(draw_list(range(LISTED)), source, log, keep))


def _parser() -> argparse.ArgumentParser:
    parser = measuring_parser(__doc__, work=ROOT / ".build")
    parser.add_argument("--items", type=int, help="so many held-out heads; all of the list when left out")
    parser.add_argument(
        "--true-codes", type=int, default=0, help="measure the generator itself on so many people (starter only)"
    )
    parser.add_argument("--quality", choices=get_args(Quality), default="balanced")
    parser.add_argument("--model", default="starter", help="name of an installed model")
    parser.add_argument(
        "--write-list", action="store_true", help="render the list's photos into --out and put their hashes in the list"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
