# SPDX-License-Identifier: Apache-2.0
"""How fast synthetic portraits are made: a person's build and each portrait of it, in processor seconds, and memory.

python benchmarks/portraits.py --assets FOLDER [--people 5] [--views 10] [--size 128]

Processor seconds count all threads and are the fairer figure where other programs run; one image per second of them is
one per core. What all people share is made with a first person that does not count.
"""

import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.progress import Log  # noqa: E402
from backend.training.build import CPU  # noqa: E402
from backend.training.command import portrait_parser, run_command  # noqa: E402
from backend.training.portrait_shards import portrait  # noqa: E402
from backend.training.portrait_source import PortraitSource, open_source  # noqa: E402

SEED, GLASSES, FIRST_PX = 7, 0.15, 16


def measure(source: PortraitSource, number: int, views: int, size_px: int) -> tuple[float, list[float]]:
    """Processor seconds of a person's build, up to a first tiny portrait, and of each portrait after that."""
    start = time.process_time()
    scene = source.scene(source.person(SEED, number, glasses_share=GLASSES))
    portrait(source, scene, np.random.default_rng([SEED, number]), FIRST_PX)
    build = time.process_time() - start
    portraits = []
    for view in range(views):
        rng = np.random.default_rng([SEED, number, view])
        start = time.process_time()
        portrait(source, scene, rng, size_px)
        portraits.append(time.process_time() - start)
    return build, portraits


def main() -> int:
    """Parse the command line, measure, print."""
    parser = portrait_parser(__doc__, work=ROOT / ".build")
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--views", type=int, default=10)
    parser.add_argument("--size", type=int, default=128, help="side in pixels")
    options = parser.parse_args()

    def work(log: Log) -> None:
        source = open_source(options.assets, options.work, preset=CPU, log=log)
        measure(source, 0, 1, FIRST_PX)
        found = [measure(source, number, options.views, options.size) for number in range(1, options.people + 1)]
        report(found, options.size)

    return run_command("portraits", work)


def report(found: list[tuple[float, list[float]]], size_px: int) -> None:
    """Print medians."""
    build = statistics.median(build for build, _ in found)
    each = statistics.median(seconds for _, portraits in found for seconds in portraits)
    print(f"a person's build      {build:8.2f} s processor")
    print(f"a portrait, {size_px:4d} px  {each * 1000:8.1f} ms processor, {1 / each:.1f} images/s per core")
    # Kilobytes on Linux, bytes on a Mac.
    unit = 2**30 if sys.platform == "darwin" else 2**20
    print(f"peak memory           {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:8.2f} GB")


if __name__ == "__main__":
    sys.exit(main())
