# SPDX-License-Identifier: Apache-2.0
"""Shape, expression and camera from the face's landmarks: linear least squares with a Gaussian prior, iterated.

The template is linear in its codes, so near a camera the codes and the camera's small moves have a closed form
together; solved in turns, they would give way to each other for hundreds of rounds. The camera is then fitted anew,
to the landmarks less the detector's expected error; see ``landmark_errors``.
Source: STARTER design, "closed-form fit from 2D landmarks alone"; compare Blanz and Vetter 1999, section 4.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.optimize import lsq_linear

from backend.camera import Camera
from backend.landmark_errors import LandmarkErrors, image_error, in_image, independent, upright
from backend.pose import fit_camera
from backend.template import Template

ROUNDS = 4
EXPRESSION_STD = 0.35
# Gaze is not in the landmarks used, and a mouth closed over an open jaw looks like a long chin.
HELD_EXPRESSIONS = ("eyeLook", "mouthClose")
HELD_STD = 1e-3
LARGEST_SHAPE = 4.0  # Standard deviations.
IRIS_LANDMARKS = 468  # From here on the face mesh follows the gaze.
# What is added to the landmarks' own scatter where nothing is known of errors that they share.
DETECTION_NOISE_M = 0.0009
# How far, in deviations of the prior, the most likely head is moved for the sake of its landmarks. At 0.2 to 0.4 the
# surface is nearer to the truth than without errors that landmarks share, and a photo's likeness as good.
TOWARDS_LANDMARKS = 0.3


@dataclass(frozen=True)
class ParametricFit:
    """A template head in front of a camera.

    Args:
        camera: Of the portrait, in the head's frame, metres.
        shape: Standard deviations.
        expression: Values of the template's expressions, 0 to 1.
        residual_m: Median distance between fitted and detected landmarks on the face, these less the detector's
            expected error, metres.
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


@dataclass(frozen=True)
class CodePrior:
    """What is believed of a head before its landmarks are looked at, such as what an encoder told.

    Args:
        shape: Most likely shape, standard deviations.
        expression: Most likely expression values.
        shape_deviation: How far off the shape may be.
        expression_deviation: How far off the expression may be.
    """

    shape: Float[np.ndarray, "k"]
    expression: Float[np.ndarray, "e"]
    shape_deviation: Float[np.ndarray, "k"]
    expression_deviation: Float[np.ndarray, "e"]


@dataclass(frozen=True)
class _Evidence:
    """What the landmarks say.

    Args:
        seen: Where they are, portrait widths.
        rest: Of the mean head, metres.
        moves: Per unit of each code, shapes first, metres.
        errors: Of the detector.
        prior: Inverse standard deviation of each code.
        expected: Most likely codes before anything is seen.
        shape_count: How many of the codes are shapes.
    """

    seen: Float[np.ndarray, "n 2"]
    rest: Float[np.ndarray, "n 3"]
    moves: Float[np.ndarray, "k n 3"]
    errors: LandmarkErrors
    prior: Float[np.ndarray, "k"]
    expected: Float[np.ndarray, "k"]
    shape_count: int

    def points(self, codes: Float[np.ndarray, "k"]) -> Float[np.ndarray, "n 3"]:
        """The landmarks of a head, metres."""
        return self.rest + np.tensordot(codes, self.moves, 1)

    def camera(self, codes: Float[np.ndarray, "k"], lens: Lens, last: Camera | None = None) -> Camera:
        """The camera for known codes; the last one, if there is one, tells the detector's expected error."""
        deviation, points = self.errors.deviation, self.points(codes)
        bias = 0 if last is None else in_image(last, points, self.errors.mean(last))
        return fit_camera(
            points, self.seen - bias, focal=lens.focal, weights=(deviation.min() / deviation) ** 2,
            principal_point=lens.principal_point,
        )  # fmt: skip


def fit_template(
    template: Template, landmarks: Float[np.ndarray, "478 2"], lens: Lens, prior: CodePrior | None = None
) -> ParametricFit:
    """A likely head whose features lie where the landmarks are, and its camera.

    What errs in a face mesh errs together, so the most likely head may have its mouth 2 mm beside the photo's. It is
    then moved as little as possible until every feature stands under its picture.

    Args:
        template: With landmarks.
        landmarks: Face-mesh landmarks in portrait widths.
        lens: Held fixed.
        prior: The average head when omitted.
    """
    evidence = _evidence(template, landmarks, prior or _average_head(template))
    camera, codes = _most_likely(evidence, lens)
    if template.landmark_errors is not None:
        alone = replace(_scatter(template), bias=template.landmark_errors.bias)
        evidence = replace(evidence, errors=alone, expected=codes, prior=evidence.prior / TOWARDS_LANDMARKS)
        camera, codes = _most_likely(evidence, lens)
    left = image_error(camera, evidence.points(codes), evidence.seen) - evidence.errors.mean(camera)
    count = evidence.shape_count
    return ParametricFit(camera, codes[:count], codes[count:], float(np.median(np.linalg.norm(left, axis=1))))


def _most_likely(evidence: _Evidence, lens: Lens) -> tuple[Camera, Float[np.ndarray, "k"]]:
    """Camera and codes in turns."""
    codes = evidence.expected
    camera = evidence.camera(codes, lens)
    for _ in range(ROUNDS):
        codes = _solve_codes(evidence, camera, codes)
        camera = evidence.camera(codes, lens, camera)
    return camera, codes


def _scatter(template: Template) -> LandmarkErrors:
    """Errors of landmarks that have nothing in common."""
    return independent(np.hypot(template.landmark_noise[:IRIS_LANDMARKS], DETECTION_NOISE_M))


def _average_head(template: Template) -> CodePrior:
    is_held = [name.startswith(HELD_EXPRESSIONS) for name in template.expression_names]
    shapes, expressions = len(template.shape), len(template.expression)
    deviations = np.where(is_held, HELD_STD, EXPRESSION_STD)
    return CodePrior(np.zeros(shapes), np.zeros(expressions), np.ones(shapes), deviations)


def _evidence(template: Template, landmarks: Float[np.ndarray, "478 2"], prior: CodePrior) -> _Evidence:
    used = slice(0, IRIS_LANDMARKS)
    corners = template.faces[template.landmark_faces[used]]
    weights = template.landmark_weights[used]
    basis = np.concatenate([template.shape, template.expression])
    return _Evidence(
        seen=landmarks[used],
        rest=np.einsum("nci,nc->ni", (template.vertices + template.neutral)[corners], weights),
        moves=np.einsum("knci,nc->kni", basis[:, corners], weights),
        errors=template.landmark_errors or _scatter(template),
        prior=1 / np.concatenate([prior.shape_deviation, prior.expression_deviation]),
        expected=np.concatenate([prior.shape, prior.expression]),
        shape_count=len(template.shape),
    )


def _solve_codes(evidence: _Evidence, camera: Camera, codes: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """The codes, the head free to turn and shift a little before the camera; expressions are kept in 0 to 1.

    The projection is linearised at the last codes.
    """
    count, points = len(codes), evidence.points(codes)
    slopes = _slopes(camera, points, np.concatenate([evidence.moves, _rigid_moves(points)]))
    gap = image_error(camera, points, evidence.seen) - evidence.errors.mean(camera)
    gap += np.tensordot(codes, slopes[:count], 1)
    design = evidence.errors.whiten(slopes)
    rows = np.concatenate([design, np.diag(evidence.prior) @ np.eye(count, design.shape[1])])
    goals = np.concatenate([evidence.errors.whiten(gap[None])[:, 0], evidence.prior * evidence.expected])
    free = np.full(design.shape[1] - count, np.inf)
    shapes, expressions = np.full(evidence.shape_count, LARGEST_SHAPE), np.ones(count - evidence.shape_count)
    bounds = np.concatenate([-shapes, 0 * expressions, -free]), np.concatenate([shapes, expressions, free])
    return lsq_linear(rows, goals, bounds=bounds, max_iter=60).x[:count]


def _rigid_moves(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "6 n 3"]:
    """Small turns about the points' centre, per radian, and shifts along each axis."""
    turns = np.cross(np.eye(3)[:, None], (points - points.mean(0))[None])
    return np.concatenate([turns, np.broadcast_to(np.eye(3)[:, None], turns.shape)])


def _slopes(
    camera: Camera, points: Float[np.ndarray, "n 3"], moves: Float[np.ndarray, "m n 3"]
) -> Float[np.ndarray, "m n 2"]:
    """How moves of the points change their images, metres along the head's left and up."""
    rotation = camera.cam2world[:3, :3]
    placed, moved = (points - camera.position) @ rotation, moves @ rotation
    slopes: Float[np.ndarray, "m n 2"] = moved[..., :2] - moved[..., 2:] * placed[:, :2] / placed[:, 2:]
    return slopes @ upright(camera).T
