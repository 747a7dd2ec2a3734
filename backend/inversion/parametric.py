# SPDX-License-Identifier: Apache-2.0
"""Shape, expression and camera from the face's landmarks: linear least squares with a Gaussian prior, iterated.

The template is linear in its codes, so near a camera the codes and the camera's small moves have a closed form
together; solved in turns, they would give way to each other for hundreds of rounds. The camera is then fitted anew,
to the landmarks less the detector's expected error; see ``landmark_errors``.
Source: STARTER design, "closed-form fit from 2D landmarks alone"; compare Blanz and Vetter 1999, section 4.
"""

from collections.abc import Sequence
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
RIGID_MOVES = 6
IRIS_LANDMARKS = 468  # From here on the face mesh follows the gaze.
# Share of what an encoder errs about a person that is not the same in all photos of it.
OWN_ERROR = 0.5
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
class SeenFace:
    """A face in one photo.

    Args:
        landmarks: Of the face mesh, portrait widths.
        lens: Held fixed.
        prior: Of the head, such as an encoder told it from this photo; the average head when omitted.
        weight: What the photo counts beside others of the person, above 0.
    """

    landmarks: Float[np.ndarray, "478 2"]
    lens: Lens
    prior: CodePrior | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class _Evidence:
    """What the landmarks of one photo say.

    Args:
        seen: Where they are, portrait widths.
        rest: Of the mean head, metres.
        moves: Per unit of each code, shapes first, metres.
        errors: Of the detector.
        prior: Inverse standard deviation of each code.
        expected: Most likely codes before anything is seen.
        shape_count: How many of the codes are shapes.
        lens: Of the photo.
        weight: Of the photo.
    """

    seen: Float[np.ndarray, "n 2"]
    rest: Float[np.ndarray, "n 3"]
    moves: Float[np.ndarray, "k n 3"]
    errors: LandmarkErrors
    prior: Float[np.ndarray, "k"]
    expected: Float[np.ndarray, "k"]
    shape_count: int
    lens: Lens
    weight: float

    def points(self, codes: Float[np.ndarray, "k"]) -> Float[np.ndarray, "n 3"]:
        """The landmarks of a head, metres."""
        return self.rest + np.tensordot(codes, self.moves, 1)

    def camera(self, codes: Float[np.ndarray, "k"], last: Camera | None = None) -> Camera:
        """The camera for known codes; the last one, if there is one, tells the detector's expected error."""
        deviation, points = self.errors.deviation, self.points(codes)
        bias = 0 if last is None else in_image(last, points, self.errors.mean(last))
        return fit_camera(
            points, self.seen - bias, focal=self.lens.focal, weights=(deviation.min() / deviation) ** 2,
            principal_point=self.lens.principal_point,
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
    return fit_person(template, [SeenFace(landmarks, lens, prior)])[0]


def fit_person(template: Template, faces: Sequence[SeenFace]) -> list[ParametricFit]:
    """As ``fit_template`` for several photos of one person: one shape, an expression and a camera for each.

    Args:
        template: With landmarks.
        faces: At least one.
    """
    priors = [face.prior or _average_head(template) for face in faces]
    person = combined_shape(priors, [face.weight for face in faces])
    evidence = [
        _evidence(template, face, replace(prior, shape=person.shape, shape_deviation=person.shape_deviation))
        for face, prior in zip(faces, priors, strict=True)
    ]
    found = _most_likely(evidence)
    if template.landmark_errors is not None:
        alone = replace(_scatter(template), bias=template.landmark_errors.bias)
        evidence = [
            replace(one, errors=alone, expected=codes, prior=one.prior / TOWARDS_LANDMARKS)
            for one, (_, codes) in zip(evidence, found, strict=True)
        ]
        found = _most_likely(evidence)
    return [_fit(one, *pair) for one, pair in zip(evidence, found, strict=True)]


def combined_shape(priors: Sequence[CodePrior], weights: Sequence[float]) -> CodePrior:
    """One belief about a person's shape from the beliefs of several photos, the sure ones counting more.

    The expressions are the first photo's. What errs about a person errs in all photos of it alike in part: only
    ``OWN_ERROR`` of a belief's variance is averaged out.

    Args:
        priors: Of each photo.
        weights: Of each photo.
    """
    precision = np.stack([weight / prior.shape_deviation**2 for prior, weight in zip(priors, weights, strict=True)])
    share = precision / precision.sum(0)
    shape = (share * np.stack([prior.shape for prior in priors])).sum(0)
    deviation = (share * np.stack([prior.shape_deviation for prior in priors])).sum(0)
    left = 1 - OWN_ERROR * (1 - (share**2).sum(0))
    return replace(priors[0], shape=shape, shape_deviation=deviation * np.sqrt(left))


def _fit(evidence: _Evidence, camera: Camera, codes: Float[np.ndarray, "k"]) -> ParametricFit:
    left = image_error(camera, evidence.points(codes), evidence.seen) - evidence.errors.mean(camera)
    count = evidence.shape_count
    return ParametricFit(camera, codes[:count], codes[count:], float(np.median(np.linalg.norm(left, axis=1))))


def _most_likely(evidence: Sequence[_Evidence]) -> list[tuple[Camera, Float[np.ndarray, "k"]]]:
    """Cameras and codes in turns, for each photo."""
    codes = [one.expected for one in evidence]
    cameras = [one.camera(each) for one, each in zip(evidence, codes, strict=True)]
    for _ in range(ROUNDS):
        codes = _solve_codes(evidence, cameras, codes)
        cameras = [one.camera(each, last) for one, each, last in zip(evidence, codes, cameras, strict=True)]
    return list(zip(cameras, codes, strict=True))


def _scatter(template: Template) -> LandmarkErrors:
    """Errors of landmarks that have nothing in common."""
    return independent(np.hypot(template.landmark_noise[:IRIS_LANDMARKS], DETECTION_NOISE_M))


def _average_head(template: Template) -> CodePrior:
    is_held = [name.startswith(HELD_EXPRESSIONS) for name in template.expression_names]
    shapes, expressions = len(template.shape), len(template.expression)
    deviations = np.where(is_held, HELD_STD, EXPRESSION_STD)
    return CodePrior(np.zeros(shapes), np.zeros(expressions), np.ones(shapes), deviations)


def _evidence(template: Template, face: SeenFace, prior: CodePrior) -> _Evidence:
    used = slice(0, IRIS_LANDMARKS)
    corners = template.faces[template.landmark_faces[used]]
    weights = template.landmark_weights[used]
    basis = np.concatenate([template.shape, template.expression])
    return _Evidence(
        seen=face.landmarks[used],
        rest=np.einsum("nci,nc->ni", (template.vertices + template.neutral)[corners], weights),
        moves=np.einsum("knci,nc->kni", basis[:, corners], weights),
        errors=template.landmark_errors or _scatter(template),
        prior=1 / np.concatenate([prior.shape_deviation, prior.expression_deviation]),
        expected=np.concatenate([prior.shape, prior.expression]),
        shape_count=len(template.shape),
        lens=face.lens,
        weight=face.weight,
    )


def _solve_codes(
    evidence: Sequence[_Evidence], cameras: Sequence[Camera], codes: Sequence[Float[np.ndarray, "k"]]
) -> list[Float[np.ndarray, "k"]]:
    """The codes for each photo, the head free to turn and shift a little before each camera.

    The unknowns are the shape, and each photo's expression, kept in 0 to 1, and small move. The projection is
    linearised at the last codes.
    """
    shapes, count = evidence[0].shape_count, len(codes[0])
    own = count - shapes + RIGID_MOVES
    width = shapes + own * len(evidence)
    rows, goals, believed, expected = [], [], [evidence[0].prior[:shapes]], [evidence[0].expected[:shapes]]
    asked = [_linearized(*one) for one in zip(evidence, cameras, codes, strict=True)]
    if len(evidence) > 1:
        asked = [_condensed(*one) for one in asked]
    for number, (one, (design, gap)) in enumerate(zip(evidence, asked, strict=True)):
        placed = np.zeros((len(design), width))
        begin = shapes + own * number
        placed[:, :shapes], placed[:, begin : begin + own] = design[:, :shapes], design[:, shapes:]
        rows.append(placed)
        goals.append(gap)
        believed += [one.prior[shapes:], np.zeros(RIGID_MOVES)]
        expected += [one.expected[shapes:], np.zeros(RIGID_MOVES)]
    prior = np.concatenate(believed)
    is_code = prior > 0
    rows.append((np.diag(prior) @ np.eye(width))[is_code])
    goals.append((prior * np.concatenate(expected))[is_code])
    expressions, free = np.ones(count - shapes), np.full(RIGID_MOVES, np.inf)
    low = [-np.full(shapes, LARGEST_SHAPE), *[0 * expressions, -free] * len(evidence)]
    high = [np.full(shapes, LARGEST_SHAPE), *[expressions, free] * len(evidence)]
    bounds = np.concatenate(low), np.concatenate(high)
    found = lsq_linear(np.concatenate(rows), np.concatenate(goals), bounds=bounds, max_iter=60).x
    apart = found[shapes:].reshape(len(evidence), own)[:, : count - shapes]
    return [np.concatenate([found[:shapes], expression]) for expression in apart]


def _linearized(
    evidence: _Evidence, camera: Camera, codes: Float[np.ndarray, "k"]
) -> tuple[Float[np.ndarray, "r u"], Float[np.ndarray, "r"]]:
    """What the landmarks of one photo ask of the codes and of small moves of the head."""
    count, points = len(codes), evidence.points(codes)
    slopes = _slopes(camera, points, np.concatenate([evidence.moves, _rigid_moves(points)]))
    gap = image_error(camera, points, evidence.seen) - evidence.errors.mean(camera)
    gap += np.tensordot(codes, slopes[:count], 1)
    trust = np.sqrt(evidence.weight)
    return trust * evidence.errors.whiten(slopes), trust * evidence.errors.whiten(gap[None])[:, 0]


def _condensed(
    design: Float[np.ndarray, "r u"], gap: Float[np.ndarray, "r"]
) -> tuple[Float[np.ndarray, "s u"], Float[np.ndarray, "s"]]:
    """The same least squares in hardly more rows than there are unknowns: several photos cost little more than one."""
    root = np.asarray(np.linalg.qr(np.column_stack([design, gap]), mode="r"))
    return root[:, :-1], root[:, -1]


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
