# SPDX-License-Identifier: Apache-2.0
"""How long one frame of the published EG3D size takes, with random weights, beside the same frame in the plain way.

Processor seconds are the fairer figure where other programs run.

python benchmarks/generator.py [--device cpu] [--threads 1] [--repeat 3]
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from backend.generator.config import GeneratorConfig
from backend.generator.eg3d_camera import FFHQ_FOCAL, orbit_pose
from backend.generator.plane_generator import PlaneGenerator
from benchmarks.plain_generator import plain_frame

Result = TypeVar("Result")


def best_time(call: Callable[[], Result], *, device: str, repeat: int) -> tuple[Result, float, float]:
    """A call's result and its least wall and processor seconds."""
    wall, processor = [], []
    for _ in range(repeat):
        wall_start, processor_start = time.perf_counter(), time.process_time()
        result = call()
        if device == "cuda":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - wall_start)
        processor.append(time.process_time() - processor_start)
    return result, min(wall), min(processor)


def main() -> None:
    """Print a line per stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = options.device
    generator = PlaneGenerator(GeneratorConfig()).to(device).requires_grad_(False)
    pose = orbit_pose(math.pi / 2, math.pi / 2, pivot=np.array([0, 0, 0.2]), radius=2.7)
    lens = np.array([[FFHQ_FOCAL, 0, 0.5], [0, FFHQ_FOCAL, 0.5], [0, 0, 1]])
    cam2world, intrinsics = (torch.tensor(x, dtype=torch.float32, device=device)[None] for x in (pose, lens))
    z, label = torch.randn(1, 512, device=device), torch.randn(1, 25, device=device)

    def timed(name: str, call: Callable[[], Result]) -> Result:
        result, wall, processor = best_time(call, device=device, repeat=options.repeat)
        print(f"{name:34s} {wall:7.2f} s wall {processor:7.2f} s processor")
        return result

    ws = timed("mapping", lambda: generator.make_ws(z, label))
    planes = timed("backbone", lambda: generator.make_planes(ws))
    rendering = timed(
        "volume, 128 x 128 x (48 + 48)", lambda: generator.render(planes, cam2world, intrinsics, size_px=128)
    )
    timed("super-resolution to 512", lambda: generator.view(ws, rendering))
    images = timed("frame", lambda: generator(generator.make_ws(z, label), cam2world, intrinsics))
    if device == "cpu":
        plain = timed("frame, plain", lambda: plain_frame(generator, ws, cam2world, intrinsics))
        print(f"largest difference {float((plain - images.image).abs().max() / images.image.abs().max()):.1e}")
    half = torch.float16 if device == "cuda" else torch.bfloat16
    timed(f"super-resolution, {half}", lambda: generator.view(ws, rendering, half=half))
    points = torch.rand(10**6, 3, device=device) - 0.5
    field = generator.field(ws)
    timed("density of 10^6 points", lambda: field.density(points))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
