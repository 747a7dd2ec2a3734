# SPDX-License-Identifier: Apache-2.0
"""Trains the geometry-aware encoder on the starter's own heads: no portraits, no assets, no photos.

The preset `cpu` takes about half an hour of one quiet CPU core, `tiny` under a minute: it shows that everything works,
its encoder is of no use; `gpu` has not been run. Run it in the project's environment, after the starter generator and,
to begin with its weights, the starter's encoder have been trained:

    .venv/bin/python scripts/train_e3dge.py --first backend/weights/starter_encoder.safetensors

Samples, checkpoints and the logs are kept in the work folder. An interrupted run goes on with --resume and ends as if
it had not been interrupted.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.folders import starter_e3dge_path, starter_path  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.command import run_command, training_device, training_parser  # noqa: E402
from backend.training.e3dge_build import PRESETS, build_e3dge  # noqa: E402


def main() -> int:
    """Parse the command line and train."""
    options = _options()

    def train(log: Log) -> None:
        preset = PRESETS[options.preset]
        if options.code_steps:
            preset = replace(preset, codes=replace(preset.codes, steps=options.code_steps))
        if options.detail_steps:
            preset = replace(preset, detail=replace(preset.detail, steps=options.detail_steps))
        torch.set_num_threads(options.threads)
        build_e3dge(
            options.work,
            options.out,
            starter_file=options.starter,
            first_file=options.first,
            preset=preset,
            device=training_device(options),
            resume=options.resume,
            log=log,
        )

    return run_command("train_e3dge", train)


def _options() -> argparse.Namespace:
    parser = training_parser(__doc__, PRESETS, work=ROOT / ".build" / "e3dge", out=starter_e3dge_path())
    parser.add_argument("--starter", type=Path, default=starter_path(), help="the generator that teaches")
    parser.add_argument("--first", type=Path, help="a starter encoder to begin with; random weights when omitted")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--code-steps", type=int, help="another number of steps for the global stage")
    parser.add_argument("--detail-steps", type=int, help="another number of steps for the local stage")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
