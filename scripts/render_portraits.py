# SPDX-License-Identifier: Apache-2.0
"""Renders synthetic portraits with the truth about every pixel, for training and for measuring encoders.

Run it in the project's environment with requirements-train.txt installed:

    .venv/bin/python scripts/render_portraits.py --assets FOLDER --out FOLDER --count 1600 --views 4

Each shard is one .npz with a contact sheet .png beside it. Interrupted, it goes on with the shards that are missing.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.output import make_folder  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.build import CPU  # noqa: E402
from backend.training.command import portrait_parser, run_command  # noqa: E402
from backend.training.portrait_shards import PortraitPlan, write_portraits  # noqa: E402
from backend.training.portrait_source import open_source  # noqa: E402


def main() -> int:
    """Parse the command line and render."""
    parser = portrait_parser(__doc__, work=ROOT / ".build")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--count", type=int, default=160, help="people")
    parser.add_argument("--views", type=int, default=4, help="portraits of each")
    parser.add_argument("--size", type=int, default=128, help="side in pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--glasses", type=float, default=0.15, help="share of people who wear some")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()

    def render(log: Log) -> None:
        plan = PortraitPlan(options.count, options.views, options.size, options.seed, options.glasses)
        make_folder(options.out)
        source = open_source(options.assets, options.work, preset=CPU, log=log)
        for path in write_portraits(source, plan, options.out, workers=options.workers):
            log(path.name)

    return run_command("render_portraits", render)


if __name__ == "__main__":
    sys.exit(main())
