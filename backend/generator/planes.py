# SPDX-License-Identifier: Apache-2.0
"""Looking up features of points in three planes, or in three thick planes (a tri-grid)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

PlaneAxes = Literal["eg3d", "corrected"]

# Per plane: which coordinate runs along the width, the height and the thickness.
# Published EG3D weights were trained with a third plane that is the second one transposed and none for y and z.
_AXES: dict[PlaneAxes, tuple[tuple[int, int, int], ...]] = {
    "eg3d": ((0, 1, 2), (0, 2, 1), (2, 0, 1)),
    "corrected": ((0, 1, 2), (0, 2, 1), (1, 2, 0)),
}


def sample_each_plane(
    planes: Float[Tensor, "b 3 cd r r"],
    points: Float[Tensor, "b n 3"],
    *,
    side: float,
    axes: PlaneAxes = "eg3d",
    depth: int = 1,
) -> Float[Tensor, "b 3 n c"]:
    """Features of points in each plane, linear between grid points, zero outside.

    Args:
        planes: Channels are features times slices, slices fastest.
        points: Canonical units.
        side: Edge of the cube that the planes span, canonical units.
        axes: Which coordinates span the planes.
        depth: Slices of each plane.
    """
    b, _, channels, r, _ = planes.shape
    scaled = points * (2 / side)
    grid = torch.stack([scaled[..., list(order)] for order in _AXES[axes]], dim=1).flatten(0, 1)
    if depth == 1:
        grid = grid[:, None, :, :2]
        flat = planes.flatten(0, 1)
    else:
        grid = grid[:, None, None]
        flat = planes.reshape(b * 3, channels // depth, depth, r, r)
    features = functional.grid_sample(flat, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return features.reshape(b, 3, channels // depth, -1).transpose(2, 3)


def sample_planes(
    planes: Float[Tensor, "b 3 cd r r"],
    points: Float[Tensor, "b n 3"],
    *,
    side: float,
    axes: PlaneAxes = "eg3d",
    depth: int = 1,
) -> Float[Tensor, "b n c"]:
    """Mean over the planes of `sample_each_plane`."""
    return sample_each_plane(planes, points, side=side, axes=axes, depth=depth).mean(1)
