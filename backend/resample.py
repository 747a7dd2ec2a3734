# SPDX-License-Identifier: Apache-2.0
"""Takes square samples out of a photo without aliasing.

Positions count in pixels, x right and y down; the centre of the first pixel is (0.5, 0.5).
"""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional


def square_matrix(
    centre: Float[np.ndarray, "2"], side: float, *, roll_deg: float, size_px: int
) -> Float[np.ndarray, "3 3"]:
    """Map from a square crop to the photo.

    Args:
        centre: Of the crop, photo pixels.
        side: Of the crop, photo pixels.
        roll_deg: How far the crop's x axis turns from the photo's x axis towards its y axis.
        size_px: Of the crop, crop pixels.
    """
    roll = np.radians(roll_deg)
    along = np.array([np.cos(roll), np.sin(roll)]) * side / size_px
    matrix = np.eye(3)
    matrix[:2, 0] = along
    matrix[:2, 1] = (-along[1], along[0])
    matrix[:2, 2] = centre - matrix[:2, :2] @ np.full(2, size_px / 2)
    return matrix


def transform(matrix: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Points after an affine map."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def sample_square(
    pixels: UInt8[np.ndarray, "h w 3"], crop_to_photo: Float[np.ndarray, "3 3"], size_px: int, *, extend: bool
) -> Float[Tensor, "1 3 s s"]:
    """The crop in [-1, 1], antialiased when it shrinks the photo.

    Args:
        pixels: The photo.
        crop_to_photo: Similarity from crop pixels to photo pixels.
        size_px: Of the crop.
        extend: Outside the photo the border pixels go on; otherwise there is mid grey.
    """
    scale = float(np.sqrt(abs(np.linalg.det(crop_to_photo[:2, :2]))))
    region, origin = _cut_region(pixels, crop_to_photo, size_px)
    image = torch.from_numpy(region).permute(2, 0, 1)[None].float() / 127.5 - 1
    reduction = max(1, int(scale / 2))
    if reduction > 1:
        image = functional.avg_pool2d(image, reduction, ceil_mode=True, count_include_pad=False)
    oversampling = max(1, math.ceil(scale / reduction - 1e-6))
    steps = (np.arange(size_px * oversampling) + 0.5) / oversampling
    x, y = np.meshgrid(steps, steps)
    places = (transform(crop_to_photo, np.stack([x.ravel(), y.ravel()], axis=1)) - origin) / reduction
    normalized = 2 * places / np.array([image.shape[3], image.shape[2]]) - 1
    grid = torch.from_numpy(normalized.astype(np.float32)).reshape(1, len(steps), len(steps), 2)
    padding = "border" if extend else "zeros"
    sampled = functional.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return functional.avg_pool2d(sampled, oversampling) if oversampling > 1 else sampled


def _cut_region(
    pixels: UInt8[np.ndarray, "h w 3"], crop_to_photo: Float[np.ndarray, "3 3"], size_px: int
) -> tuple[UInt8[np.ndarray, "i j 3"], Float[np.ndarray, "2"]]:
    """The photo's part under the crop with some margin, and its top left corner in photo pixels."""
    corners = transform(crop_to_photo, np.array([[0, 0], [size_px, 0], [0, size_px], [size_px, size_px]], float))
    margin = 2 + np.abs(crop_to_photo[:2, :2]).sum()
    size = np.array([pixels.shape[1], pixels.shape[0]])
    low = np.clip(np.floor(corners.min(0) - margin), 0, size - 1).astype(int)
    high = np.clip(np.ceil(corners.max(0) + margin), low + 1, size).astype(int)
    region = np.array(pixels[low[1] : high[1], low[0] : high[0]])  # A copy: torch warns of arrays it may not write.
    return region, low.astype(np.float64)
