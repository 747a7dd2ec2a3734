# SPDX-License-Identifier: Apache-2.0
"""The pixels of a texture as points of the mesh: rasterising uv, and filling the space between the charts."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

FACES_PER_BLOCK = 4096  # Keeps temporary arrays small.
NEIGHBOURS = [(0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]


@dataclass(frozen=True)
class Texels:
    """The texels whose centres lie on a triangle.

    Args:
        size_px: Side of the texture.
        index: Row times ``size_px`` plus column.
        corners: Vertex indices of the triangle.
        barycentric: Weights of those vertices.
        triangle: Row of the triangle in the mesh's faces.
    """

    size_px: int
    index: Int[np.ndarray, "n"]
    corners: Int[np.ndarray, "n 3"]
    barycentric: Float[np.ndarray, "n 3"]
    triangle: Int[np.ndarray, "n"]

    def interpolate(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "n c"]:
        """Vertex values at the texels, as float32."""
        return self._weights(len(values)) @ values.astype(np.float32)

    def gather(
        self, values: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "n"], count: int
    ) -> tuple[Float[np.ndarray, "v c"], Float[np.ndarray, "v"]]:
        """Weighted means of texel values around each of ``count`` vertices, and the mean weight there.

        A vertex without weight gets 0; one without texels too.
        """
        to_vertices = self._weights(count).T
        weight = to_vertices @ weights.astype(np.float32)
        total = to_vertices @ (values * weights[:, None]).astype(np.float32)
        area = to_vertices @ np.ones(len(weights), dtype=np.float32)
        means = np.divide(total, weight[:, None], out=np.zeros_like(total), where=weight[:, None] > 0)
        return means, np.divide(weight, area, out=np.zeros_like(weight), where=area > 0)

    def _weights(self, count: int) -> csr_array:
        """The barycentric weights as a matrix from ``count`` vertices to the texels."""
        first = np.arange(0, 3 * len(self.index) + 1, 3, dtype=np.int32)  # Enough for 26 000² texels.
        return csr_array((self.barycentric.ravel(), self.corners.ravel(), first), shape=(len(self.index), count))


def rasterize_uv(uv: Float[np.ndarray, "v 2"], faces: Int[np.ndarray, "f 3"], size_px: int) -> Texels:
    """Finds the texels whose centres lie on each triangle, row by row.

    Args:
        uv: (0, 0) is the texture's top left corner.
        faces: Of either winding; triangles that share an edge share no texel.
        size_px: Side of the texture.
    """
    corners = uv[faces].astype(np.float64) * size_px
    blocks = range(0, max(len(faces), 1), FACES_PER_BLOCK)
    parts = [_rasterize(corners[first : first + FACES_PER_BLOCK], size_px) for first in blocks]
    index, barycentric = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    triangle = np.concatenate([part[2] + first for part, first in zip(parts, blocks, strict=True)])
    return Texels(size_px, index, faces.astype(np.int32)[triangle], barycentric, triangle)


def _rasterize(
    corners: Float[np.ndarray, "f 3 2"], size_px: int
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n 3"], Int[np.ndarray, "n"]]:
    """Index, barycentric weights and triangle of the covered texels."""
    first = np.clip(np.ceil(corners[:, :, 1].min(axis=1) - 0.5), 0, size_px).astype(np.int64)
    last = np.clip(np.ceil(corners[:, :, 1].max(axis=1) - 0.5), 0, size_px).astype(np.int64)
    triangle, step = _expand(last - first)
    row = first[triangle] + step
    left, right = _span(corners, triangle, row + 0.5)
    first = np.clip(np.ceil(left - 0.5), 0, size_px).astype(np.int64)
    last = np.clip(np.ceil(right - 0.5), 0, size_px).astype(np.int64)
    span, step = _expand(np.maximum(last - first, 0))
    triangle, row, column = triangle[span], row[span], first[span] + step
    barycentric = _barycentric(corners, triangle, column + 0.5, row + 0.5)
    return (row * size_px + column).astype(np.int32), barycentric, triangle.astype(np.int32)


def _expand(counts: Int[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """Each index as often as counted, with its running number."""
    index = np.repeat(np.arange(len(counts)), counts)
    start = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - start[index]


def _span(
    corners: Float[np.ndarray, "f 3 2"], triangle: Int[np.ndarray, "n"], y: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Where a horizontal line enters and leaves each triangle."""
    left, right = np.full(len(y), np.inf), np.full(len(y), -np.inf)
    for corner in range(3):
        start, end = corners[:, corner], corners[:, (corner + 1) % 3]
        # Both triangles of an edge walk it from the same end, so rounding cannot open a gap between them.
        is_down = ((start[:, 1] < end[:, 1]) | ((start[:, 1] == end[:, 1]) & (start[:, 0] < end[:, 0])))[:, None]
        start, end = np.where(is_down, start, end), np.where(is_down, end, start)
        height = end[:, 1] - start[:, 1]
        slope = np.divide(end[:, 0] - start[:, 0], height, out=np.zeros_like(height), where=height > 0)
        from_start = y - start[triangle, 1]
        is_met = (from_start >= 0) & (y <= end[triangle, 1]) & (height[triangle] > 0)
        x = start[triangle, 0] + from_start * slope[triangle]
        left = np.where(is_met, np.minimum(left, x), left)
        right = np.where(is_met, np.maximum(right, x), right)
    is_empty = left > right
    return np.where(is_empty, 0.0, left), np.where(is_empty, 0.0, right)


def _barycentric(
    corners: Float[np.ndarray, "f 3 2"], triangle: Int[np.ndarray, "n"], x: np.ndarray, y: np.ndarray
) -> Float[np.ndarray, "n 3"]:
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    inverse = np.divide(1.0, area, out=np.zeros_like(area), where=area != 0)
    across, down = x - a[triangle, 0], y - a[triangle, 1]
    second = (across * (ac[:, 1] * inverse)[triangle] - down * (ac[:, 0] * inverse)[triangle]).astype(np.float32)
    third = (down * (ab[:, 0] * inverse)[triangle] - across * (ab[:, 1] * inverse)[triangle]).astype(np.float32)
    return np.stack([1 - second - third, second, third], axis=1)


def fill_gaps(
    image: Float[np.ndarray, "h w c"], is_known: Bool[np.ndarray, "h w"], margin_px: int
) -> Float[np.ndarray, "h w c"]:
    """Colours for the unknown pixels: each chart grows by ``margin_px``, the rest is filled smoothly.

    The smooth rest keeps mip levels free of foreign colours. An image without known pixels stays as it is.
    """
    if not is_known.any():
        return image
    filled, known = image.copy(), is_known.copy()
    for _ in range(margin_px):
        _grow(filled, known)
    return np.where(known[..., None], filled, _pull_push(filled, known))


def _grow(image: Float[np.ndarray, "h w c"], is_known: Bool[np.ndarray, "h w"]) -> None:
    """Gives the pixels beside known ones the mean of their known neighbours, in place."""
    padded = np.pad(is_known, 1)
    height, width = is_known.shape
    touched = np.zeros_like(is_known)
    for down, across in NEIGHBOURS:
        touched |= padded[1 + down : 1 + down + height, 1 + across : 1 + across + width]
    row, column = np.nonzero(touched & ~is_known)
    total = np.zeros((len(row), image.shape[2]), dtype=np.float32)
    count = np.zeros(len(row), dtype=np.float32)
    for down, across in NEIGHBOURS:
        near = padded[row + 1 + down, column + 1 + across]
        total[near] += image[row[near] + down, column[near] + across]
        count += near
    image[row, column] = total / count[:, None]
    is_known[row, column] = True


def _pull_push(image: Float[np.ndarray, "h w c"], is_known: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w c"]:
    """Fills unknown pixels with the mean of the known ones in ever larger blocks."""
    if is_known.all():
        return image
    height, width = is_known.shape
    odd = ((0, height % 2), (0, width % 2))
    weight = np.pad(is_known.astype(np.float32), odd)
    weight = weight.reshape(weight.shape[0] // 2, 2, -1, 2)
    masked = np.pad(image * is_known[..., None], (*odd, (0, 0)))
    total = masked.reshape(*weight.shape, -1).sum(axis=(1, 3))
    count = weight.sum(axis=(1, 3))
    half = _pull_push(total / np.maximum(count, 1)[..., None], count > 0)
    full = half.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(is_known[..., None], image, full)
