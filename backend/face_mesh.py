# SPDX-License-Identifier: Apache-2.0
"""Places the 478 face mesh landmarks inside a candidate square.

Source:
    Kartynnik et al. 2019, arXiv:1907.06724 (mesh); Grishchenko et al. 2020, arXiv:2006.10962 (attention mesh);
    the region rules of MediaPipe's face landmark graph.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from backend import face_mesh_points as points
from backend.face_detector import Candidate
from backend.photo_network import PhotoNetwork
from backend.resample import sample_square, square_matrix, transform

INPUT_PX = 192
REGION = 1.5  # Side of the network's view, in sides of the face's square.
MIN_PASSES, MAX_PASSES = 2, 5
SETTLED_SHIFT, SETTLED_ROLL_DEG = 0.04, 3.0  # In sides of the face.
HOPELESS_PRESENCE = 0.02
EYE_CONTOUR = 16  # An eye subset starts with its contour.

Place = tuple[Float[np.ndarray, "2"], float, float]  # Centre, side and roll in degrees of a face's square.


@dataclass(frozen=True)
class MeshFit:
    """Landmarks of one candidate.

    Args:
        landmarks: Photo pixels; mean of the photo's and its mirror image's answer.
        depth: Photo pixels, smaller is nearer to the camera, 0 about at the head's middle.
        presence: The network's belief that a face is there, 0 to 1.
        mirror_error: Mean distance between the two answers, in eye distances that no turn has foreshortened.
    """

    landmarks: Float[np.ndarray, "478 2"]
    depth: Float[np.ndarray, "478"]
    presence: float
    mirror_error: float


def fit_mesh(network: PhotoNetwork, pixels: UInt8[np.ndarray, "h w 3"], candidate: Candidate) -> MeshFit:
    """Landmarks near a candidate; each pass centres the network's view on the landmarks of the one before.

    A view that the network surely takes for no face ends the search.
    """
    place = candidate.centre, candidate.side, candidate.roll_deg
    for number in range(MAX_PASSES):
        centre, side, roll_deg = place
        crop_to_photo = square_matrix(centre, side * REGION, roll_deg=roll_deg, size_px=INPUT_PX)
        crop = (sample_square(pixels, crop_to_photo, INPUT_PX, extend=True) + 1) / 2
        with torch.no_grad():
            answers = read_mesh(network, torch.cat([crop, crop.flip(3)]))
        fit = _average(answers, crop_to_photo, side * REGION / INPUT_PX)
        place = face_square(fit.landmarks)
        is_settled = number + 1 >= MIN_PASSES and _change(place, (centre, side, roll_deg)) < 1
        if is_settled or fit.presence < HOPELESS_PRESENCE:
            break
    return fit


def _change(after: Place, before: Place) -> float:
    """How far a face square moved, grew or turned; below 1 it has settled."""
    shift = np.abs([*(after[0] - before[0]), after[1] - before[1]]).max() / after[1]
    turn_deg = abs((after[2] - before[2] + 180) % 360 - 180)
    return max(float(shift) / SETTLED_SHIFT, turn_deg / SETTLED_ROLL_DEG)


def read_mesh(
    network: PhotoNetwork, crops: Float[Tensor, "b 3 192 192"]
) -> tuple[Float[Tensor, "b 478 3"], Float[Tensor, "b"]]:
    """Landmarks in crop pixels with depth, and presence; crops in [0, 1]; differentiable."""
    mesh, lips, right_eye, left_eye, right_iris, left_iris, presence = network(crops)
    batch = len(crops)
    landmarks = torch.cat([mesh.reshape(batch, 468, 3), mesh.new_zeros(batch, 10, 3)], dim=1)
    irises = list(range(points.RIGHT_IRIS, points.COUNT))
    subsets = [*network.subsets(), irises[:5], irises[5:]]
    refined = landmarks.clone()
    for subset, answer in zip(subsets, (lips, right_eye, left_eye, right_iris, left_iris), strict=True):
        refined[:, subset, :2] = answer.reshape(batch, -1, 2)
    for iris, eye in zip(subsets[3:], subsets[1:3], strict=True):
        refined[:, iris, 2] = landmarks[:, eye[:EYE_CONTOUR], 2].mean(1, keepdim=True)
    return refined, torch.sigmoid(presence.reshape(batch))


def _average(
    answers: tuple[Float[Tensor, "2 478 3"], Float[Tensor, "2"]],
    crop_to_photo: Float[np.ndarray, "3 3"],
    photo_px_per_crop_px: float,
) -> MeshFit:
    """Joins the answers for a crop and for its mirror image."""
    direct, mirrored = answers[0].double().numpy()
    mirrored = mirrored[points.MIRROR]
    mirrored[:, 0] = INPUT_PX - mirrored[:, 0]
    mean = (direct + mirrored) / 2
    distance = np.linalg.norm(direct[:, :2] - mirrored[:, :2], axis=1).mean()
    return MeshFit(
        transform(crop_to_photo, mean[:, :2]),
        mean[:, 2] * photo_px_per_crop_px,
        float(answers[1].min()),
        float(distance / max(eye_distance(mean), 1e-6)),
    )


def eye_distance(landmarks: Float[np.ndarray, "478 d"]) -> float:
    """Distance between the eyes' middles, in the landmarks' unit."""
    right = landmarks[[points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER]].mean(0)
    left = landmarks[[points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER]].mean(0)
    return float(np.linalg.norm(left - right))


def eye_roll_deg(landmarks: Float[np.ndarray, "478 2"]) -> float:
    """Turn of the line through the outer eye corners from the x axis towards the y axis."""
    across = landmarks[points.LEFT_EYE_OUTER] - landmarks[points.RIGHT_EYE_OUTER]
    return float(np.degrees(np.arctan2(across[1], across[0])))


def face_square(landmarks: Float[np.ndarray, "478 2"]) -> Place:
    """Centre, side and roll of the upright square around the landmarks."""
    roll_deg = eye_roll_deg(landmarks)
    turn = square_matrix(np.zeros(2), 1.0, roll_deg=roll_deg, size_px=1)[:2, :2]
    upright = landmarks @ turn
    low, high = upright.min(0), upright.max(0)
    return turn @ ((low + high) / 2), float((high - low).max()), roll_deg
