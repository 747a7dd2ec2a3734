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


class PlaneLookup:
    """Features of points in planes.

    Args:
        planes: Channels are features times slices, slices fastest.
        side: Edge of the cube that the planes span, canonical units.
        axes: Which coordinates span the planes.
        depth: Slices of each plane.
        arrange: Whether the planes are copied so that the features of a place are next to each other in memory, which
            makes lookups on a CPU several times faster; worth it for more points than the planes have.
    """

    def __init__(
        self,
        planes: Float[Tensor, "b 3 cd r r"],
        *,
        side: float,
        axes: PlaneAxes = "eg3d",
        depth: int = 1,
        arrange: bool = True,
    ) -> None:
        if depth == 1:
            self._flat = planes.flatten(0, 1)
            layout = torch.channels_last
        else:
            self._flat = planes.flatten(0, 1).unflatten(1, (-1, depth))
            layout = torch.channels_last_3d
        if arrange and planes.device.type == "cpu":
            self._flat = self._flat.contiguous(memory_format=layout)
        self._side, self._axes = side, _AXES[axes]

    def each(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b 3 c n"]:
        """Features of points in each plane, linear between grid points, zero outside."""
        scaled = points * (2 / self._side)
        grid = torch.stack([scaled[..., list(order)] for order in self._axes], dim=1).flatten(0, 1)
        grid = grid[:, None, :, :2] if self._flat.ndim == 4 else grid[:, None, None]
        features = functional.grid_sample(self._flat, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return features.reshape(len(points), 3, self._flat.shape[1], -1)

    def mean(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n c"]:
        """Mean over the planes of `each`."""
        return self.each(points).mean(1).transpose(1, 2)


def sample_each_plane(
    planes: Float[Tensor, "b 3 cd r r"],
    points: Float[Tensor, "b n 3"],
    *,
    side: float,
    axes: PlaneAxes = "eg3d",
    depth: int = 1,
) -> Float[Tensor, "b 3 n c"]:
    """Features of points in each plane; see `PlaneLookup`."""
    return PlaneLookup(planes, side=side, axes=axes, depth=depth, arrange=False).each(points).transpose(2, 3)
