# SPDX-License-Identifier: Apache-2.0
"""Finds where faces may be: BlazeFace over a pyramid of squares.

Source:
    Bazarevsky et al. 2019, arXiv:1907.05047; box decoding as in MediaPipe's short-range face detection graph.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from backend.photo_network import PhotoNetwork
from backend.resample import sample_square, square_matrix, transform

INPUT_PX = 128
BATCH = 16
DETAIL = 2  # Photos are shrunk until a square has at most about this many pixels per input pixel.
CLOSE_VIEW = 2.0  # Side of the square for a second look, in sides of the face.
RIGHT_EYE, LEFT_EYE = 0, 1  # Of the subject, among the six key points.
SAME_FACE_OVERLAP = 0.3


@dataclass(frozen=True)
class Candidate:
    """A square that may hold a face.

    Args:
        centre: Photo pixels.
        side: Photo pixels; about from the brows to the chin.
        roll_deg: Turn of the eye line from the photo's x axis towards its y axis.
        score: Between 0 and 1.
    """

    centre: Float[np.ndarray, "2"]
    side: float
    roll_deg: float
    score: float


def find_candidates(
    network: PhotoNetwork, pixels: UInt8[np.ndarray, "h w 3"], *, subdivision: int, roll_deg: float, min_score: float
) -> list[Candidate]:
    """Possible faces, best first, doubles merged.

    Args:
        network: The detector.
        pixels: Photo.
        subdivision: 1 looks at the whole photo at once; n at overlapping squares of 1/n of its long side. Faces
            smaller than about a tenth of a square are not seen.
        roll_deg: Turn of the squares against the photo.
        min_score: Less certain candidates are left out.
    """
    height, width = pixels.shape[:2]
    reduction = max(1, int(max(width, height) / (DETAIL * INPUT_PX * subdivision)))
    reduced = np.array(Image.fromarray(pixels).reduce(reduction)) if reduction > 1 else pixels
    matrices = [
        square_matrix(centre, side, roll_deg=roll_deg, size_px=INPUT_PX)
        for centre, side in _squares(width / reduction, height / reduction, subdivision)
    ]
    found: list[Candidate] = []
    for start in range(0, len(matrices), BATCH):
        batch = matrices[start : start + BATCH]
        crops = torch.cat([sample_square(reduced, matrix, INPUT_PX, extend=False) for matrix in batch])
        with torch.no_grad():
            regressed, logits = network(crops)
        scores = torch.sigmoid(logits[..., 0].clamp(-80, 80)).numpy()
        for matrix, values, certainty in zip(batch, regressed.numpy(), scores, strict=True):
            found += _decode(values, certainty, np.diag([reduction, reduction, 1]) @ matrix, min_score)
    return merge_candidates(found)


def second_look(
    network: PhotoNetwork,
    pixels: UInt8[np.ndarray, "h w 3"],
    centre: Float[np.ndarray, "2"],
    side: float,
    *,
    roll_deg: float,
) -> float:
    """The detector's certainty when a supposed face stands upright and large in the middle of its view."""
    crop_to_photo = square_matrix(centre, CLOSE_VIEW * side, roll_deg=roll_deg, size_px=INPUT_PX)
    with torch.no_grad():
        regressed, logits = network(sample_square(pixels, crop_to_photo, INPUT_PX, extend=False))
    scores = torch.sigmoid(logits[0, :, 0].clamp(-80, 80)).numpy()
    supposed = Candidate(centre, side, roll_deg, 1.0)
    seen = _decode(regressed[0].numpy(), scores, crop_to_photo, 0.1)
    return max((candidate.score for candidate in seen if overlap(candidate, supposed) > SAME_FACE_OVERLAP), default=0.0)


def _squares(width: float, height: float, subdivision: int) -> Iterator[tuple[np.ndarray, float]]:
    """Centres and sides of squares that cover the photo, half overlapping; one centred square for subdivision 1."""
    side = max(width, height) / subdivision
    columns, rows = (max(1, int(np.ceil(2 * length / side - 1 - 1e-6))) for length in (width, height))
    for row in range(rows):
        for column in range(columns):
            share = np.array([_share(column, columns), _share(row, rows)])
            free = np.maximum(np.array([width, height]) - side, 0)
            first = np.where(free > 0, side / 2, np.array([width, height]) / 2)
            yield first + share * free, side


def _share(index: int, count: int) -> float:
    return index / (count - 1) if count > 1 else 0.5


def _anchors() -> Float[np.ndarray, "896 2"]:
    """Cell centres in input widths: two anchors per cell of the 16 x 16 grid, six of the 8 x 8 grid."""
    anchors = []
    for cells, per_cell in ((16, 2), (8, 6)):
        steps = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(steps, steps)
        anchors.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(anchors)


def _decode(
    values: Float[np.ndarray, "896 16"],
    scores: Float[np.ndarray, "896"],
    crop_to_photo: Float[np.ndarray, "3 3"],
    min_score: float,
) -> list[Candidate]:
    """Candidates of one square: box centre, box size, then six key points, relative to the anchors."""
    candidates = []
    for index in np.flatnonzero(scores > min_score):
        pairs = values[index].astype(np.float64).reshape(8, 2)
        anchor = _anchors()[index] * INPUT_PX
        points = transform(crop_to_photo, np.concatenate([pairs[:1], pairs[2:]]) + anchor)
        eyes = points[1 + LEFT_EYE] - points[1 + RIGHT_EYE]
        side = float(pairs[1].max() * np.hypot(*crop_to_photo[:2, 0]))
        roll_deg = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
        candidates.append(Candidate(points[0], side, roll_deg, float(scores[index])))
    return candidates


def overlap(first: Candidate, second: Candidate) -> float:
    """Shared area over joint area of two squares, both taken as upright."""
    reach = (first.side + second.side) / 2 - np.abs(first.centre - second.centre)
    sides = np.clip(reach, 0, min(first.side, second.side))
    shared = float(sides.prod())
    return shared / (first.side**2 + second.side**2 - shared)


def merge_candidates(candidates: list[Candidate]) -> list[Candidate]:
    """The best candidate of each group of overlapping ones, with the group's mean place by score."""
    waiting = sorted(candidates, key=lambda candidate: -candidate.score)
    merged = []
    while waiting:
        best = waiting[0]
        group = [other for other in waiting if overlap(best, other) > SAME_FACE_OVERLAP]
        waiting = [other for other in waiting if overlap(best, other) <= SAME_FACE_OVERLAP]
        scores = np.array([candidate.score for candidate in group])
        centre = scores @ np.stack([candidate.centre for candidate in group]) / scores.sum()
        side = float(scores @ np.array([candidate.side for candidate in group]) / scores.sum())
        merged.append(Candidate(centre, side, best.roll_deg, best.score))
    return merged
