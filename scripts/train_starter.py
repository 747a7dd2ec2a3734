# SPDX-License-Identifier: Apache-2.0
"""Trains the starter generator from the CC0 and MIT assets.

Phase A learns coloured points, phase B rendered patches of pictures as well, phase C a critic of patches on top. The
preset `cpu` has phase A alone and is made for two CPU cores and about two hours; `gpu` has all, for about half an hour
of one large GPU; `tiny` takes minutes, nearly all of them for the assets: it shows that everything works, its model is
of no use. Run it in the project's environment with requirements-train.txt installed:

    .venv/bin/python scripts/train_starter.py --assets FOLDER --preset cpu

Intermediate results, checkpoints, curves and sample sheets are kept in the work folder, under names that change with
the code and the numbers behind them. An interrupted run goes on with --resume and ends as if it had not been
interrupted; pieces of a fixed length are had with --minutes.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.folders import starter_path  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.build import PRESETS, build_starter  # noqa: E402
from backend.training.command import add_assets, run_command, training_device, training_parser  # noqa: E402


def main() -> int:
    """Parse the command line and train."""
    options = _options()

    def train(log: Log) -> None:
        preset = PRESETS[options.preset]
        if options.steps:
            preset = replace(preset, training=preset.training.with_steps(options.steps))
        if options.heads:
            preset = replace(preset, heads=options.heads)
        build_starter(
            options.assets,
            options.work,
            options.out,
            preset=preset,
            device=training_device(options),
            workers=options.workers,
            log=log,
            resume=options.resume,
            until=options.until,
            seconds=60 * options.minutes,
        )

    return run_command("train_starter", train)


def _options() -> argparse.Namespace:
    parser = training_parser(__doc__, PRESETS, work=ROOT / ".build", out=starter_path())
    add_assets(parser)
    parser.add_argument("--steps", type=int, nargs="+", help="of phases A, B and C, instead of the preset's")
    parser.add_argument("--heads", type=int, help="another number of training heads than the preset's")
    parser.add_argument("--until", type=int, help="stop at this step and make the model; 0 makes it of the checkpoint")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of training; then stop with a checkpoint")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make data")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
