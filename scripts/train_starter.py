# SPDX-License-Identifier: Apache-2.0
"""Trains the starter generator from the CC0 and MIT assets.

The preset `cpu` takes an hour and a half on two quiet CPU cores, `gpu` half an hour on one large GPU, `tiny` a minute:
it shows that everything works, its model is of no use. Run it in the project's environment with requirements-train.txt
installed:

    .venv/bin/python scripts/train_starter.py --assets FOLDER --preset cpu

Intermediate results, checkpoints, curves and sample sheets are kept in the work folder, under names that change with
the code and the numbers behind them. An interrupted run goes on with --resume and ends as if it had not been
interrupted; pieces of a fixed length are had with --minutes.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.device import choose_device  # noqa: E402
from backend.errors import ProtomeError  # noqa: E402
from backend.folders import starter_path  # noqa: E402
from backend.training.build import PRESETS, build_starter  # noqa: E402


def main() -> int:
    """Parse the command line and train."""
    options = _options()
    start = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - start:7.0f} s  {text}", flush=True)

    preset = PRESETS[options.preset]
    if options.steps:
        preset = replace(preset, training=replace(preset.training, steps=options.steps))
    try:
        build_starter(
            options.assets,
            options.work,
            options.out,
            preset=preset,
            device=choose_device(options.device or ("auto" if options.preset == "gpu" else "cpu")),
            workers=options.workers,
            log=log,
            resume=options.resume,
            until=options.until,
            seconds=60 * options.minutes,
        )
    except ProtomeError as error:
        print(f"train_starter: {error}", file=sys.stderr)
        return 2
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="folder with makehuman/ and ict_facekit/")
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--work", type=Path, default=ROOT / ".build", help="intermediate results and checkpoints")
    parser.add_argument("--out", type=Path, default=starter_path())
    parser.add_argument("--steps", type=int, help="another number of optimiser steps than the preset's")
    parser.add_argument("--until", type=int, help="stop at this step and make the model; 0 makes it of the checkpoint")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of training; then stop with a checkpoint")
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), help="where the networks are trained")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make data")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
