# SPDX-License-Identifier: Apache-2.0
"""How fast this machine is: a second's benchmark of what inversion spends its time on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

REPEATS = 5
# Processor seconds of one thread of the machine on which the work of the stages was measured; see estimate.STAGES_S.
REFINING_S, OTHER_S = 0.012, 0.006


@dataclass(frozen=True)
class Pace:
    """Seconds that a second's work of the reference machine takes here.

    Args:
        refining: Of network passes and their gradients, on the torch device.
        other: Of everything else, on the processor.
    """

    refining: float
    other: float


def measure_pace(device: str) -> Pace:
    """The pace of this machine.

    Args:
        device: Type of the torch device.
    """
    return Pace(refining_s(device) / REFINING_S, other_s() / OTHER_S)


def refining_s(device: str) -> float:
    """Seconds of a forward and a backward pass like those of a refinement step: planes, samples, a small decoder."""
    random = torch.Generator().manual_seed(0)
    planes = torch.randn(3, 24, 96, 96, generator=random).to(device).requires_grad_(True)
    places = (2 * torch.rand(3, 1, 12_000, 2, generator=random) - 1).to(device)
    first, last = torch.randn(64, 24, generator=random).to(device), torch.randn(4, 64, generator=random).to(device)

    def step() -> None:
        features = functional.grid_sample(planes, places, align_corners=False).sum(0)[:, 0].T
        functional.linear(functional.softplus(functional.linear(features, first)), last).square().mean().backward()
        assert planes.grad is not None
        float(planes.grad.flatten()[0])  # Waits for a device that works on its own.

    return _best_of(step)


def other_s() -> float:
    """Seconds of what the other stages do on one thread: sort, gather, multiply small matrices, count."""
    rng = np.random.default_rng(0)
    values, places = rng.random(200_000), rng.integers(0, 200_000, 400_000)
    matrices = rng.random((20_000, 3, 3))

    def step() -> None:
        gathered = np.sort(values)[places]
        np.bincount(places, weights=gathered)
        np.einsum("nij,njk->nik", matrices, matrices)

    return _best_of(step)


def _best_of(step: Callable[[], None]) -> float:
    """The quickest of a few runs, which other programs disturbed least; the first one only warms up."""
    step()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
