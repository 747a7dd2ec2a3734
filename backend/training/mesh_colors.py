# SPDX-License-Identifier: Apache-2.0
"""Paint kept on a mesh itself: samples on a regular grid inside every triangle, finer on larger or nearer ones.

No unwrapping, no seams. Source: Yuksel, Keyser and House 2010, "Mesh Colors".
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.training.blend import blended


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

    def at(self, triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"]) -> "SamplePlaces":
        """The three samples around each place and their weights, which add up to 1."""
        steps, start = self._layout.take(triangle, axis=0).T
        x, y = (np.clip(barycentric[:, axis], 0, 1).astype(np.float32) * steps.astype(np.float32) for axis in (0, 1))
        row = np.minimum(x.astype(np.int32), steps - 1)
        column = np.clip(y.astype(np.int32), 0, steps - 1 - row)
        across, along = x - row, y - column
        # The near small triangle is (row, column) and its two next ones, the far one lies beyond their edge.
        is_far = (across + along > 1) & (row + column + 2 <= steps)
        index, weights = np.empty((len(triangle), 3), np.int32), np.empty((len(triangle), 3), np.float32)
        corners = ((row + is_far, column + is_far), (row + 1, column), (row, column + 1))
        for corner, (i, j) in enumerate(corners):
            index[:, corner] = start + i * (steps + 1) - i * (i - 1) // 2 + j
        weights[:, 1] = np.where(is_far, 1 - along, across)
        weights[:, 2] = np.where(is_far, 1 - across, along)
        weights[:, 0] = 1 - weights[:, 1] - weights[:, 2]
        return SamplePlaces(index, weights, steps, is_far)

    @cached_property
    def _layout(self) -> Int[np.ndarray, "f 2"]:
        """Resolution and first sample of each triangle."""
        return np.stack([self.resolution, self.first], axis=1).astype(np.int32)


@dataclass(frozen=True)
class SamplePlaces:
    """Places between samples.

    Args:
        index: The samples around each place.
        weights: Theirs; they add up to 1.
        steps: Resolution of the place's triangle.
        is_far: Whether the small triangle around the place is upside down.
    """

    index: Int[np.ndarray, "n 3"]
    weights: Float[np.ndarray, "n 3"]
    steps: Int[np.ndarray, "n"]
    is_far: Bool[np.ndarray, "n"]

    def read(self, values: Float[np.ndarray, "m c"]) -> Float[np.ndarray, "n c"]:
        """Values at the places."""
        return blended(values, self.index, self.weights)

    def slope(self, values: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n 2"]:
        """Change of values with the first and the second barycentric weight, at the third one's expense."""
        base, first, second = values.take(self.index).T
        one, two = (
            np.where(self.is_far, base - second, first - base),
            np.where(self.is_far, base - first, second - base),
        )
        return (np.stack([one, two]) * self.steps).T


def _pattern(steps: int) -> Float[np.ndarray, "m 3"]:
    rows, columns = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1), indexing="ij")
    kept = rows + columns <= steps
    first, second = rows[kept] / steps, columns[kept] / steps
    return np.stack([first, second, 1 - first - second], axis=1).astype(np.float32)


def resolution_for(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], spacing: float | Float[np.ndarray, "f"]
) -> Int[np.ndarray, "f"]:
    """Steps along triangles' edges that put samples about ``spacing`` apart, by area, from 1 to 32."""
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    # Of an equilateral triangle with that area.
    edge = np.sqrt(area * 4 / np.sqrt(3))
    return np.clip(np.ceil(edge / spacing), 1, 32).astype(np.int64)
