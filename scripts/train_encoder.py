# SPDX-License-Identifier: Apache-2.0
"""Trains the starter's encoder on portraits that it renders meanwhile.

The preset `cpu` takes about an hour and a half on two CPU cores, 40 minutes of it for one process to render 640 people
meanwhile. `gpu` has not been run as a whole: training waits for its 12 000 people, which are half a day's work for one
process, so give it the machine's cores with --render-workers and --workers. `tiny` renders 48 people and shows that
everything works; its encoder is of no use. Run it in the project's environment with requirements-train.txt installed,
after the starter generator itself has been trained:

    .venv/bin/python scripts/train_encoder.py --assets FOLDER

Portraits, checkpoints and the log are kept in the work folder. An interrupted run goes on with --resume and ends as if
it had not been interrupted.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.folders import starter_encoder_path, starter_path  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.command import add_assets, run_command, training_device, training_parser  # noqa: E402
from backend.training.encoder_build import PRESETS, build_encoder  # noqa: E402


def main() -> int:
    """Parse the command line and train."""
    options = _options()

    def train(log: Log) -> None:
        preset = PRESETS[options.preset]
        if options.steps:
            preset = replace(preset, training=replace(preset.training, steps=options.steps))
        if options.people:
            preset = replace(preset, people=options.people)
        build_encoder(
            options.assets,
            options.work,
            options.out,
            starter_file=options.starter,
            preset=preset,
            device=training_device(options),
            workers=(options.render_workers, options.workers),
            resume=options.resume,
            log=log,
        )

    return run_command("train_encoder", train)


def _options() -> argparse.Namespace:
    parser = training_parser(__doc__, PRESETS, work=ROOT / ".build", out=starter_encoder_path())
    add_assets(parser)
    parser.add_argument("--starter", type=Path, default=starter_path(), help="the generator that is encoded for")
    parser.add_argument("--steps", type=int, help="another number of optimiser steps than the preset's")
    parser.add_argument("--people", type=int, help="another number of rendered people than the preset's")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare pictures")
    parser.add_argument("--render-workers", type=int, default=1, help="processes that render portraits")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
