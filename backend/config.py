# SPDX-License-Identifier: Apache-2.0
"""What a user can choose for one run."""

from dataclasses import dataclass
from typing import Literal

Quality = Literal["draft", "balanced", "best"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Settings:
    """One run's choices.

    Args:
        model: Name of an installed generator.
        quality: How much refinement; ``draft`` has none.
        device: Where torch computes; ``auto`` takes CUDA, then MPS, then the CPU.
        face: Which detected face, counted from 0 at the largest; None takes the largest.
        faces: Triangles of the exported mesh, 1 000 to 200 000.
        texture_px: Side of the texture: 1024, 2048 or 4096.
        seed: Of every random choice.
    """

    model: str = "starter"
    quality: Quality = "balanced"
    device: DeviceName = "auto"
    face: int | None = None
    faces: int = 30_000
    texture_px: int = 2048
    seed: int = 0
