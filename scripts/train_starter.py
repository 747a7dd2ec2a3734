# SPDX-License-Identifier: Apache-2.0
"""Trains the starter generator from the CC0 and MIT assets: about an hour and a half on two CPU cores.

Run it in the project's environment with requirements-train.txt installed:

    .venv/bin/python scripts/train_starter.py --assets FOLDER

Interrupted, it goes on from its last checkpoint.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.errors import ProtomeError  # noqa: E402
from backend.folders import starter_path  # noqa: E402
from backend.training.build import CPU, build_starter  # noqa: E402


def main() -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="folder with makehuman/ and ict_facekit/")
    parser.add_argument("--work", type=Path, default=ROOT / ".build", help="intermediate results and checkpoints")
    parser.add_argument("--out", type=Path, default=starter_path())
    parser.add_argument("--steps", type=int, default=CPU.training.steps)
    options = parser.parse_args()
    start = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - start:7.0f} s  {text}", flush=True)

    preset = replace(CPU, training=replace(CPU.training, steps=options.steps))
    try:
        build_starter(options.assets, options.work, options.out, preset=preset, log=log)
    except ProtomeError as error:
        print(f"train_starter: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
