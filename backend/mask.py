# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a portrait show the person.

Source:
    MediaPipe's selfie segmentation network; He, Sun, Tang 2013, "Guided Image Filtering" (edges, section 3.4).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from backend.alignment import Portrait, head_place
from backend.errors import PhotoError
from backend.landmarks import Face
from backend.photo_network import load_network
from backend.resample import transform
from backend.threads import one_thread

INPUT_PX = 256
FILTER_RADIUS = 1 / 128  # Image widths: about one cell of the network's own grid.
FILTER_SMOOTHING = 1e-3  # Colour variance below which the filter averages; colours in [0, 1].
SOLID, CLEAR = 0.9, 0.15  # The filtered mask is stretched from this range; what it spreads thinly is no hair.
LOOSE_EDGE = 1 / 64  # Image widths that soft hair may reach beyond the person's solid part.
# Of another person beside the face, in face heights: the head with its hair, and half the shoulders.
HEAD_RADIUS, SHOULDER = 0.95, 1.3


def segment_head(portrait: Portrait) -> Float[Tensor, "1 1 s s"]:
    """Share of each pixel that belongs to the person, 0 to 1; 0 outside the photo.

    Other people and blobs count as background unless they touch the person.

    Raises:
        PhotoError: Nobody is told from the background where the face is.
        ModelError: The segmentation network is missing.
    """
    image = (portrait.image + 1) / 2
    with one_thread(), torch.no_grad():
        soft = _person_probability(image)
        refined = guided_filter(image, soft, radius=max(1, round(FILTER_RADIUS * portrait.size_px)))
    refined = ((refined - CLEAR) / (SOLID - CLEAR)).clamp(0, 1) * portrait.coverage
    return refined * _belongs_to_face(refined, portrait)


def without_others(portrait: Portrait, face: Face, others: Sequence[Face]) -> Portrait:
    """The portrait, covered no more where other people stand: nothing is known there of the person behind them.

    A pixel belongs to the nearest face, in heights of the faces.

    Args:
        portrait: Of ``face``.
        face: In the photo.
        others: The other faces of the photo.
    """
    if not others:
        return portrait
    steps = np.arange(portrait.size_px) + 0.5
    pixels = np.stack(np.meshgrid(steps, steps), axis=-1)
    own, _ = _from_face(portrait, face, pixels)
    hidden = np.zeros(own.shape, bool)
    for other in others:
        distance, is_person = _from_face(portrait, other, pixels)
        hidden |= is_person & (distance < own)
    return replace(portrait, coverage=portrait.coverage * torch.from_numpy(~hidden).float())


def _from_face(
    portrait: Portrait, face: Face, pixels: Float[np.ndarray, "s s 2"]
) -> tuple[Float[np.ndarray, "s s"], Bool[np.ndarray, "s s"]]:
    """Distance of pixels from a face in its heights, and where its head and shoulders can be."""
    centre, height = head_place(face)
    scale = float(np.hypot(*portrait.photo_to_portrait[:2, 0]))
    gap = (pixels - transform(portrait.photo_to_portrait, centre[None])[0]) / (scale * height)
    distance = np.linalg.norm(gap, axis=-1)
    is_body = (gap[..., 1] > 0) & (np.abs(gap[..., 0]) < SHOULDER)
    return distance, is_body | (distance < HEAD_RADIUS)


def _person_probability(image: Float[Tensor, "1 3 s s"]) -> Float[Tensor, "1 1 s s"]:
    """The network's answer, mean of the image's and its mirror image's."""
    network = load_network("person_mask")
    small = functional.interpolate(image, size=(INPUT_PX, INPUT_PX), mode="bilinear", antialias=True)
    direct, mirrored = network(torch.cat([small, small.flip(3)]))[0]
    mean = (direct + mirrored.flip(2))[None] / 2
    return functional.interpolate(mean, size=image.shape[2:], mode="bilinear")


def guided_filter(
    image: Float[Tensor, "1 3 s s"], values: Float[Tensor, "1 1 s s"], *, radius: int
) -> Float[Tensor, "1 1 s s"]:
    """Values moved onto the image's edges: within each window they become a linear function of the colours.

    Args:
        image: Colours in [0, 1].
        values: What to filter.
        radius: Of the square windows, pixels.
    """
    mean_image, mean_values = _box_mean(image, radius), _box_mean(values, radius)
    covariance = _box_mean(image * values, radius) - mean_image * mean_values
    pairs = image[:, :, None] * image[:, None]
    spread = _box_mean(pairs.flatten(1, 2), radius).unflatten(1, (3, 3)) - mean_image[:, :, None] * mean_image[:, None]
    spread = spread + FILTER_SMOOTHING * torch.eye(3).reshape(1, 3, 3, 1, 1).to(image)
    slope = _solve_three(spread, covariance)
    offset = mean_values - (slope * mean_image).sum(1, keepdim=True)
    return (_box_mean(slope, radius) * image).sum(1, keepdim=True) + _box_mean(offset, radius)


def _solve_three(matrix: Float[Tensor, "1 3 3 s s"], values: Float[Tensor, "1 3 s s"]) -> Float[Tensor, "1 3 s s"]:
    """Solution of a 3 x 3 system per pixel by Cramer's rule; much faster than general solvers here."""
    first, second, third = matrix.unbind(2)

    def determinant(one: Tensor, two: Tensor, three: Tensor) -> Tensor:
        return (one * torch.linalg.cross(two, three, dim=1)).sum(1, keepdim=True)

    numerators = [
        determinant(values, second, third),
        determinant(first, values, third),
        determinant(first, second, values),
    ]
    return torch.cat(numerators, dim=1) / determinant(first, second, third)


def _box_mean(image: Float[Tensor, "1 c s s"], radius: int) -> Float[Tensor, "1 c s s"]:
    """Mean over the part of each window that lies inside the image."""
    window = 2 * radius + 1
    return functional.avg_pool2d(image, window, stride=1, padding=radius, count_include_pad=False)


def _belongs_to_face(mask: Float[Tensor, "1 1 s s"], portrait: Portrait) -> Float[Tensor, "1 1 s s"]:
    """1 near the connected part that holds most landmarks, 0 elsewhere.

    Raises:
        PhotoError: No part holds any.
    """
    labels, _ = ndimage.label(mask[0, 0].numpy() > 0.5)
    places = np.clip(portrait.landmarks.astype(int), 0, portrait.size_px - 1)
    votes = np.bincount(labels[places[:, 1], places[:, 0]], minlength=2)
    votes[0] = 0
    if not votes.any():
        raise PhotoError(
            "The person cannot be told from the background. Use a sharp, well lit photo before a plain background.",
            code="no_person",
        )
    person = torch.from_numpy(labels == votes.argmax())[None, None].float()
    reach = max(1, round(LOOSE_EDGE * portrait.size_px))
    return functional.max_pool2d(person, 2 * reach + 1, stride=1, padding=reach)
