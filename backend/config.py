# SPDX-License-Identifier: Apache-2.0
"""What a user can choose for one run."""

from dataclasses import dataclass
from typing import Literal

Quality = Literal["draft", "balanced", "best"]
MethodName = Literal["protome", "mean", "w", "w+", "pti", "spi", "e3dge", "triplanenet"]
ExpressionName = Literal["neutral", "photo"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Settings:
    """One run's choices.

    Args:
        model: Name of an installed generator.
        quality: How much refinement; ``draft`` has none.
        method: How a photo becomes codes; ``triplanenet`` needs an encoder for the model.
        device: Where torch computes; ``auto`` takes CUDA, then MPS, then the CPU.
        face: Which detected face, counted from 0 at the largest; None takes the largest.
        faces: Triangles of the exported mesh, 1 000 to 200 000.
        texture_px: Side of the texture: 1024, 2048 or 4096.
        seed: Of every random choice.
        expression: With which the head is opened; the other one is its slider away.
    """

    model: str = "starter"
    quality: Quality = "balanced"
    method: MethodName = "protome"
    device: DeviceName = "auto"
    face: int | None = None
    faces: int = 30_000
    texture_px: int = 2048
    seed: int = 0
    expression: ExpressionName = "neutral"


@dataclass(frozen=True)
class BustCut:
    """How the shoulders end: a column, open upwards, with a rounded foot.

    Args:
        half_width: From the axis to the column's sides, in cube sides, 0 to 0.5.
        half_depth: From the axis to the column's front and back, in cube sides, 0 to 0.5.
        depth_below: From the origin down to the foot, in cube sides, 0 to 0.5.
        corner: Radius of the foot's edge, in cube sides, at most the smallest of the others.
        rounding: Radius of the edge between skin and cut, in cube sides; fields with a signed distance only.
    """

    half_width: float = 0.485
    half_depth: float = 0.485
    depth_below: float = 0.485
    corner: float = 0.3
    rounding: float = 0.02


@dataclass(frozen=True)
class Focus:
    """Where a mesh gets smaller triangles than elsewhere.

    Args:
        centre: Canonical units.
        reach: Distance at which half of the gain is left, canonical units.
        gain: Lengths at the centre count so many times more, on top of once.
    """

    centre: tuple[float, float, float]
    reach: float
    gain: float


@dataclass(frozen=True)
class SurfaceConfig:
    """How a field becomes a mesh.

    Args:
        resolution: Lattice nodes along an edge of the cube, rounded up to whole blocks, 17 to 513.
        faces: The mesh has at most so many triangles.
        smoothing_steps: Taubin steps against the stairs of marching cubes; 0 has none.
        bust_cut: Where the shoulders end; None lets them end at the cube.
        chunk: Points in one call of the field.
        lattice_focus: Where the lattice's nodes lie denser; None spaces them evenly.
        details: Where the faces go first.
    """

    resolution: int = 161
    faces: int = 30_000
    smoothing_steps: int = 6
    bust_cut: BustCut | None = BustCut()
    chunk: int = 65_536
    lattice_focus: Focus | None = None
    details: tuple[Focus, ...] = ()


@dataclass(frozen=True)
class TextureConfig:
    """How a texture is baked.

    Args:
        size_px: Side of the texture, 16 to 8192.
        field_px: Side of the texture at which the generator's colours are asked; larger ones are enlarged from it.
        margin_px: How far each chart grows over its border.
        symmetric_above: Heights in cube sides between which symmetry begins: clothes and hands have none.
    """

    size_px: int = 2048
    field_px: int = 1024
    margin_px: int = 12
    symmetric_above: tuple[float, float] = (-0.28, -0.2)
