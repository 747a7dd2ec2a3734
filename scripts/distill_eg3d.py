# SPDX-License-Identifier: Apache-2.0
"""Trains a small generator in EG3D's layout on heads of the starter, on one thread.

    .venv/bin/python scripts/distill_eg3d.py -o small.safetensors
    python -m backend models add small.safetensors --accept-licence

The starter's own layout has no place in EG3D's networks; this student has, and its weights are free. Nine minutes give
heads with eyes, nose and lips of their own place and colour, though soft: pores, strands and most of the brows are not
there. The file is kept now and then while it is learned, and usable from the first time on. A .safetensors file names
its licence and options; a .pth file is a bare state dict, for other tools.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.folders import starter_path  # noqa: E402
from backend.generator.plane_generator import PlaneGenerator  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.starter import load_starter  # noqa: E402
from backend.training.command import run_command, script_parser  # noqa: E402
from backend.training.distill import distill, save_student  # noqa: E402
from backend.training.distill_config import DistillConfig  # noqa: E402


def main() -> int:
    """Parse the command line, train, write."""
    parser = script_parser(__doc__)
    default = DistillConfig()
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write: .safetensors, .pth or .pt")
    parser.add_argument("--starter", type=Path, default=starter_path(), help="the teacher's weights")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="processor time for planes and decoder")
    parser.add_argument("--heads", type=int, default=default.heads, help="of the teacher")
    parser.add_argument("--pictures", type=int, default=default.pictures, help="for the super-resolution")
    parser.add_argument("--seed", type=int, default=default.seed)
    options = parser.parse_args()
    torch.set_num_threads(1)  # Two would wait for each other at each of the small steps.
    config = replace(
        default, seconds=options.seconds, heads=options.heads, pictures=options.pictures, seed=options.seed
    )

    def train(log: Log) -> None:
        starter = load_starter(options.starter)

        def keep(student: PlaneGenerator) -> None:
            save_student(options.output, student, starter.identity)
            log(f"{options.output} as it stands")

        keep(distill(starter, config, log, keep=keep))

    return run_command("distill_eg3d", train, clock=time.process_time)


if __name__ == "__main__":
    sys.exit(main())
