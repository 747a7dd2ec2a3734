# SPDX-License-Identifier: Apache-2.0
"""Paint kept on a mesh itself: samples on a regular grid inside every triangle, finer on larger or nearer ones.

No unwrapping, no seams. Source: Yuksel, Keyser and House 2010, "Mesh Colors".
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class MeshSamples:
    """Sample places in triangles; sample ``(i, j)`` of a triangle of resolution ``r`` has weights (i, j, r-i-j) / r.

    Args:
        resolution: Steps along each edge of each triangle, 1 or more.
    """

    resolution: Int[np.ndarray, "f"]

    @cached_property
    def first(self) -> Int[np.ndarray, "f"]:
        """Index of each triangle's first sample."""
        count = (self.resolution + 1) * (self.resolution + 2) // 2
        return np.cumsum(count) - count

    @cached_property
    def triangle(self) -> Int[np.ndarray, "m"]:
        """The triangle of each sample."""
        count = (self.resolution + 1) * (self.resolution + 2) // 2
        return np.repeat(np.arange(len(self.resolution)), count)

    @cached_property
    def barycentric(self) -> Float[np.ndarray, "m 3"]:
        """Weights of each sample in its triangle."""
        patterns = {steps: _pattern(int(steps)) for steps in np.unique(self.resolution)}
        return np.concatenate([patterns[steps] for steps in self.resolution])

    def around(
        self, triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"]
    ) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """The three samples around each place and their weights, which add up to 1."""
        steps = self.resolution[triangle]
        scaled = np.clip(barycentric[:, :2], 0, 1) * steps[:, None]
        row = np.minimum(scaled[:, 0].astype(np.int64), steps - 1)
        column = np.clip(scaled[:, 1].astype(np.int64), 0, steps - 1 - row)
        across, along = scaled[:, 0] - row, scaled[:, 1] - column
        # The near small triangle is (row, column) and its two next ones, the far one lies beyond their edge.
        is_far = (across + along > 1) & (row + column + 2 <= steps)
        corners = ((row + is_far, column + is_far), (row + 1, column), (row, column + 1))
        index = np.stack([i * (steps + 1) - i * (i - 1) // 2 + j for i, j in corners], axis=1)
        first = np.where(is_far, 1 - along, across)
        second = np.where(is_far, 1 - across, along)
        weights = np.stack([1 - first - second, first, second], axis=1)
        return self.first[triangle, None] + index, weights


def _pattern(steps: int) -> Float[np.ndarray, "m 3"]:
    rows, columns = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1), indexing="ij")
    kept = rows + columns <= steps
    first, second = rows[kept] / steps, columns[kept] / steps
    return np.stack([first, second, 1 - first - second], axis=1).astype(np.float32)


def resolution_for(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], spacing: float | Float[np.ndarray, "f"]
) -> Int[np.ndarray, "f"]:
    """Steps along triangles' edges that put samples about ``spacing`` apart, from 1 to 32."""
    corners = vertices[faces]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    return np.clip(np.ceil(edges / spacing), 1, 32).astype(np.int64)
