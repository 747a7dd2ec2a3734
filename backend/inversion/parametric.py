# SPDX-License-Identifier: Apache-2.0
"""Shape, expression and camera from the face's landmarks: linear least squares with a Gaussian prior, iterated.

The template is linear in its codes, so with the camera held the codes have a closed form; the camera and the codes take
turns. Source: STARTER design, "closed-form fit from 2D landmarks alone"; compare Blanz and Vetter 1999, section 4.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import lsq_linear

from backend.camera import Camera, project
from backend.pose import fit_camera
from backend.template import Template

ROUNDS = 6
EXPRESSION_STD = 0.35
IRIS_LANDMARKS = 468  # From here on the face mesh follows the gaze, which the template has not.
# A detected landmark scatters by about this share of a portrait width (0.9 mm at 63 mm between the eyes).
DETECTION_NOISE_M = 0.0009


@dataclass(frozen=True)
class ParametricFit:
    """A template head in front of a camera.

    Args:
        camera: Of the portrait, in the head's frame, metres.
        shape: Standard deviations.
        expression: Values of the template's expressions, 0 to 1.
        residual_m: Median distance between detected and fitted landmarks on the face, metres.
    """

    camera: Camera
    shape: Float[np.ndarray, "k"]
    expression: Float[np.ndarray, "e"]
    residual_m: float


@dataclass(frozen=True)
class Lens:
    """What is known of the camera: focal length in portrait widths, and where its axis meets the portrait."""

    focal: float
    principal_point: tuple[float, float] = (0.5, 0.5)


def fit_template(template: Template, landmarks: Float[np.ndarray, "478 2"], lens: Lens) -> ParametricFit:
    """The most likely head and camera for detected landmarks.

    Args:
        template: With landmarks.
        landmarks: Face-mesh landmarks in portrait widths.
        lens: Held fixed.
    """
    used = slice(0, IRIS_LANDMARKS)
    seen = landmarks[used]
    corners = template.faces[template.landmark_faces[used]]
    weights = template.landmark_weights[used]
    noise = np.hypot(template.landmark_noise[used], DETECTION_NOISE_M)
    basis = np.concatenate([template.shape, template.expression])
    moves = np.einsum("knci,nc->kni", basis[:, corners], weights)
    rest = np.einsum("nci,nc->ni", (template.vertices + template.neutral)[corners], weights)
    prior = np.concatenate([np.ones(len(template.shape)), np.full(len(template.expression), 1 / EXPRESSION_STD)])
    codes = np.zeros(len(basis))
    points = rest
    camera = _camera(points, seen, noise, lens)
    for _ in range(ROUNDS):
        codes = _solve_codes(camera, rest, moves, seen, noise, prior, codes, len(template.shape))
        points = rest + np.tensordot(codes, moves, 1)
        camera = _camera(points, seen, noise, lens)
    image, depth = project(camera, points)
    residual = np.linalg.norm((image - seen) * depth[:, None] / lens.focal, axis=1)
    count = len(template.shape)
    return ParametricFit(camera, codes[:count], codes[count:], float(np.median(residual)))


def _camera(points: np.ndarray, seen: np.ndarray, noise: np.ndarray, lens: Lens) -> Camera:
    weights = (noise.min() / noise) ** 2
    return fit_camera(points, seen, focal=lens.focal, weights=weights, principal_point=lens.principal_point)


def _solve_codes(
    camera: Camera,
    rest: Float[np.ndarray, "n 3"],
    moves: Float[np.ndarray, "k n 3"],
    seen: Float[np.ndarray, "n 2"],
    noise: Float[np.ndarray, "n"],
    prior: Float[np.ndarray, "k"],
    codes: Float[np.ndarray, "k"],
    shape_count: int,
) -> Float[np.ndarray, "k"]:
    """The codes for a known camera: the projection is linearised at the last ones, expressions are kept in 0 to 1."""
    rotation = camera.cam2world[:3, :3]
    points = (rest + np.tensordot(codes, moves, 1) - camera.position) @ rotation
    moved = moves @ rotation
    focal = camera.intrinsics[0, 0]
    centre = camera.intrinsics[:2, 2]
    depth = points[:, 2:]
    image = focal * points[:, :2] / depth + centre
    slope = focal * (moved[..., :2] - moved[..., 2:] * points[:, :2] / depth) / depth
    metres = depth / focal / noise[:, None]
    design = (slope * metres).reshape(len(codes), -1).T
    goal = ((seen - image) * metres).reshape(-1) + design @ codes
    rows = np.concatenate([design, np.diag(prior)])
    goals = np.concatenate([goal, np.zeros(len(codes))])
    low = np.concatenate([np.full(shape_count, -4.0), np.zeros(len(codes) - shape_count)])
    high = np.concatenate([np.full(shape_count, 4.0), np.ones(len(codes) - shape_count)])
    return lsq_linear(rows, goals, bounds=(low, high), max_iter=60).x
