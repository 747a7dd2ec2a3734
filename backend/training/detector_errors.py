# SPDX-License-Identifier: Apache-2.0
"""Learns how a face mesh errs, from rendered portraits of people whose heads and cameras are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from backend.camera import Camera
from backend.crop_camera import before_the_head
from backend.face_detector import Candidate
from backend.face_mesh import face_square, fit_mesh
from backend.face_mesh_points import MIRROR
from backend.inversion.parametric import IRIS_LANDMARKS
from backend.landmark_errors import (
    FARTHEST_PITCH_DEG,
    FARTHEST_YAW_DEG,
    POSE_TERMS,
    LandmarkErrors,
    image_error,
    pose_terms,
)
from backend.landmarks import MAX_MIRROR_ERROR, MIN_PRESENCE
from backend.photo_network import PhotoNetwork
from backend.pose import head_angles
from backend.template import Template
from backend.training.backdrop import over_backdrop, sample_backdrop
from backend.training.portrait_shards import Shard, expressions_for, read_shard

USED = (
    "rgba", "landmarks", "cam2world", "intrinsics", "person", "number", "pose", "shape", "expression",
    "expression_names",
)  # fmt: skip
VIEWS_EACH = 3  # More portraits of one person say little more.
FACTORS = 100
POSE_DOUBT = 2.0  # Portraits' worth of belief that the bias does not depend on the direction of view.
LEAST_REST_M = 0.00015


@dataclass(frozen=True)
class Sighting:
    """What a detector says of a portrait whose truth is known.

    Args:
        number: Of the person.
        error: Of the landmarks, see ``landmark_errors``.
        yaw_deg: Of the camera before the head.
        pitch_deg: Of the camera before the head.
    """

    number: int
    error: Float[np.ndarray, "468 2"]
    yaw_deg: float
    pitch_deg: float

    def mirrored(self) -> "Sighting":
        """The same in the mirror image of the portrait; the detector treats both alike."""
        error = self.error[MIRROR[:IRIS_LANDMARKS]] * [-1, 1]
        return Sighting(self.number, error, -self.yaw_deg, self.pitch_deg)


def sight_shards(template: Template, mesh: PhotoNetwork, files: Sequence[Path]) -> Iterator[list[Sighting]]:
    """The sightings of each file of ``render_portraits.py``.

    Raises:
        ModelError: A file is missing, damaged or of another version.
    """
    for seed, path in enumerate(files):
        yield sight_shard(template, mesh, read_shard(path, USED), np.random.default_rng(seed))


def sight_shard(template: Template, mesh: PhotoNetwork, shard: Shard, rng: np.random.Generator) -> list[Sighting]:
    """The first portraits of each person that show a face from in front, before random backdrops."""
    found: list[Sighting] = []
    expression = expressions_for(template, shard)
    for row, person in enumerate(shard["person"]):
        number = int(shard["number"][person])
        pose = shard["pose"][person].astype(np.float64)
        camera = Camera(shard["cam2world"][row].astype(np.float64), shard["intrinsics"][row].astype(np.float64))
        camera = before_the_head(camera, template.skeleton, pose)
        yaw_deg, pitch_deg, _ = head_angles(camera)
        is_aside = abs(yaw_deg) > FARTHEST_YAW_DEG or abs(pitch_deg) > FARTHEST_PITCH_DEG
        if is_aside or sum(one.number == number for one in found) == VIEWS_EACH:
            continue
        seen = _detect(mesh, shard["rgba"][row], shard["landmarks"][row], rng)
        if seen is not None:
            points = landmark_points(template, shard["shape"][person], expression[person])
            found.append(Sighting(number, image_error(camera, points, seen), yaw_deg, pitch_deg))
    return found


def _detect(
    mesh: PhotoNetwork, rgba: np.ndarray, near: Float[np.ndarray, "478 2"], rng: np.random.Generator
) -> Float[np.ndarray, "468 2"] | None:
    """Landmarks in image widths; None where the network doubts that there is a face."""
    size_px = len(rgba)
    pixels = over_backdrop(rgba, sample_backdrop(rng, size_px))
    centre, side, roll_deg = face_square(near.astype(np.float64) * size_px)
    fit = fit_mesh(mesh, pixels, Candidate(centre=centre, side=side, roll_deg=roll_deg, score=1.0))
    if fit.presence < MIN_PRESENCE or fit.mirror_error > MAX_MIRROR_ERROR:
        return None
    return fit.landmarks[:IRIS_LANDMARKS] / size_px


def landmark_points(
    template: Template, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]
) -> Float[np.ndarray, "468 3"]:
    """Where a head has its landmarks, metres."""
    vertices = template.vertices + template.offsets(shape.astype(np.float64), expression.astype(np.float64))
    return template.landmarks(vertices, slice(IRIS_LANDMARKS))


def learn_errors(sightings: Sequence[Sighting], *, factors: int = FACTORS) -> LandmarkErrors:
    """Bias by ridge regression on the direction of view, factors by principal components of what is left.

    Args:
        sightings: Of many people; their mirror images are added.
        factors: How many.

    Raises:
        ValueError: There are too few sightings.
    """
    if len(sightings) < 2 * factors:
        raise ValueError(f"{factors} factors need at least {2 * factors} portraits, not {len(sightings)}")
    both = [*sightings, *(one.mirrored() for one in sightings)]
    terms = np.stack([pose_terms(one.yaw_deg, one.pitch_deg) for one in both])
    errors = np.stack([one.error for one in both]).reshape(len(both), -1)
    doubt = POSE_DOUBT * np.diag([0.0] + [1.0] * (POSE_TERMS - 1))
    bias = np.linalg.solve(terms.T @ terms + doubt, terms.T @ errors)
    left = errors - terms @ bias
    _, sizes, directions = np.linalg.svd(left, full_matrices=False)
    main = directions[:factors] * sizes[:factors, None] / np.sqrt(len(left))
    alone = (left**2).mean(0) - (main**2).sum(0)
    rest = np.sqrt(np.maximum(alone, 0).reshape(-1, 2).mean(1) + LEAST_REST_M**2)
    return LandmarkErrors(bias.reshape(POSE_TERMS, -1, 2), main.reshape(factors, -1, 2), rest)
