# SPDX-License-Identifier: Apache-2.0
"""All inversion methods on the same photos: held-out heads from several sides, and real photos.

Run it in the project's environment with requirements-train.txt installed:

    .venv/bin/python benchmarks/inversion.py --assets FOLDER --out FOLDER [--heads 3] [--yaws 0 30 60] [--photos FOLDER]

Writes FOLDER/index.html and tables.md (means, what is asked with 95 % intervals, failures), results.csv, sheets/ and
items/. What is done is not done again: broken off, it goes on where it was, and a second run with other methods, heads
or qualities adds to the first; --tables alone makes the tables of what there is. A method that fails counts as the
worst.
"""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from backend.config import Quality  # noqa: E402
from backend.errors import SettingsError  # noqa: E402
from backend.evaluation.command import held_out_source, measuring_parser  # noqa: E402
from backend.evaluation.held_out import read_list  # noqa: E402
from backend.evaluation.inversion_bench import InversionBench, head_jobs, real_photo_jobs  # noqa: E402
from backend.evaluation.inversion_items import YAWS_DEG, in_turns, parse_entry  # noqa: E402
from backend.evaluation.inversion_report import report  # noqa: E402
from backend.evaluation.protocol import chosen_heads, find_photos  # noqa: E402
from backend.evaluation.run import missing, run_jobs  # noqa: E402
from backend.output import make_folder  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.command import run_command  # noqa: E402


def main() -> int:
    """Parse the command line, work and write the tables."""
    options = _parser().parse_args()

    def measure(log: Log) -> None:
        source = held_out_source(options.assets, options.work, log)
        bench = InversionBench.open(options.seed, source)
        if not options.tables:
            _work(options, bench, log)
        report(options.out, bench, quality=options.quality, machine=_machine(), command=" ".join(sys.argv[1:]))
        log(f"wrote {options.out / 'index.html'}")

    return run_command("inversion", measure)


def _work(options: argparse.Namespace, bench: InversionBench, log: Log) -> None:
    entries = [parse_entry(text, options.quality) for text in options.methods or bench.model.methods]
    bench.check(entries)
    held_out = chosen_heads(read_list(), options.heads if options.assets else 0)
    photos = find_photos(options.photos) if options.photos else []
    if not held_out.heads and not photos:
        raise SettingsError("There is nothing to do: give --assets for held-out heads, or --photos for a folder.")
    jobs = head_jobs(bench, held_out, in_turns(held_out, options.yaws), entries)
    jobs += real_photo_jobs(bench, photos, entries)
    make_folder(options.out)
    if held_out.heads and missing(jobs, options.out):
        bench.source()  # Assets that are missing stop the run; they are no failure of a method.
    run_jobs(jobs, options.out, log)


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} used"


def _parser() -> argparse.ArgumentParser:
    parser = measuring_parser(__doc__, work=ROOT / ".build")
    parser.add_argument("--heads", type=int, default=3, help="so many people of the list of held-out heads")
    parser.add_argument("--yaws", type=float, nargs="+", default=YAWS_DEG, help="sides of their photos, degrees")
    parser.add_argument(
        "--methods", nargs="+", metavar="METHOD[:QUALITY[:PHOTOS]]", help="all that the starter knows when left out"
    )
    parser.add_argument("--quality", choices=get_args(Quality), default="balanced", help="where --methods names none")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice of the methods")
    parser.add_argument("--tables", action="store_true", help="only make the tables of what is done")
    return parser


if __name__ == "__main__":
    sys.exit(main())
