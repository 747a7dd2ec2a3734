# SPDX-License-Identifier: Apache-2.0
"""How long a published EG3D generator (ffhq512-128, random weights) takes to add, verify and load, and its memory.

python benchmarks/loading.py [--repeat 3]

Each step runs in a process of its own, so that its peak of memory is its own. "Over the weights" is that peak less
what the process took before the step, divided by the size of the weights.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from backend.catalogue import find_generator
from backend.checkpoint.install import add_model
from backend.checkpoint.loading import load_generator
from backend.checkpoint.upkeep import verify_model
from backend.generator.config import GeneratorConfig
from backend.generator.plane_generator import PlaneGenerator

NAME = "benchmark"
STEPS = ("add", "verify", "load")


def make_checkpoint(path: Path) -> int:
    """Write a state dict as torch does; returns the bytes of its values."""
    torch.manual_seed(0)
    state = PlaneGenerator(GeneratorConfig()).state_dict()
    torch.save(state, path)
    return sum(value.nbytes for value in state.values())


def run_step(step: str, checkpoint: Path) -> None:
    """Do one step and print its wall seconds, processor seconds and megabytes."""
    if step == "add":
        path = Path(os.environ["PROTOME_HOME"]) / "models" / f"{NAME}.safetensors"
        path.unlink(missing_ok=True)
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: add_model(checkpoint, accept=lambda licence: True, name=NAME),
        "verify": lambda: verify_model(find_generator(NAME)),
        "load": lambda: load_generator(find_generator(NAME)),
    }
    before = _current_mb()
    wall, processor = time.perf_counter(), time.process_time()
    calls[step]()
    print(time.perf_counter() - wall, time.process_time() - processor, _peak_mb() - before)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _current_mb() -> float:
    """From Linux, the only system that tells it without a package."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print a line per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--step", nargs=2, metavar=("STEP", "CHECKPOINT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step[0], Path(options.step[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "state.pth"
        size_mb = make_checkpoint(checkpoint) / 2**20
        print(f"weights: {size_mb:.0f} MB")
        environment = {**os.environ, "PROTOME_HOME": folder}
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, str(checkpoint)]
            runs = [
                subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
                for _ in range(options.repeat)
            ]
            wall, processor, peak = (min(map(float, column)) for column in zip(*runs, strict=True))
            print(
                f"{step:7s} {wall:6.2f} s wall {processor:6.2f} s processor, peak {peak:5.0f} MB,"
                f" {peak / size_mb:.2f} x over the weights"
            )


if __name__ == "__main__":
    main()
