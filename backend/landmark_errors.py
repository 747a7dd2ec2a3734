# SPDX-License-Identifier: Apache-2.0
"""How detected landmarks lie off the points of the head that they stand for.

A face mesh knows faces: it moves a whole nose or jaw towards what it expects there, so that 468 landmarks are far from
468 independent measurements, and it errs in the same way whenever a face is turned in the same way. Errors are
Gaussian: a mean that depends on the direction of view, some directions in which all landmarks err together, and a rest
of each landmark alone (a factor model; Bishop, Pattern Recognition and Machine Learning, section 12.2.4).

Lengths are metres at the landmark, axes the head's left and up as the camera sees them, whatever the camera's roll.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from backend.camera import Camera, project
from backend.pose import head_angles

POSE_TERMS = 6
YAW_UNIT_DEG, PITCH_UNIT_DEG = 30.0, 15.0
FARTHEST_YAW_DEG, FARTHEST_PITCH_DEG = 52.0, 35.0  # Beyond, no landmarks were looked at.


@dataclass(frozen=True)
class LandmarkErrors:
    """The distribution of a detector's errors.

    Args:
        bias: Factors of ``pose_terms`` in the mean, metres.
        factors: Errors of all landmarks together, one standard deviation of each, metres.
        rest: Standard deviation of each landmark's own error along each axis, metres.
    """

    bias: Float[np.ndarray, "6 n 2"]
    factors: Float[np.ndarray, "f n 2"]
    rest: Float[np.ndarray, "n"]

    def mean(self, camera: Camera) -> Float[np.ndarray, "n 2"]:
        """The error to be expected before a camera."""
        yaw_deg, pitch_deg, _ = head_angles(camera)
        expected: Float[np.ndarray, "n 2"] = np.tensordot(pose_terms(yaw_deg, pitch_deg), self.bias, 1)
        return expected

    @property
    def deviation(self) -> Float[np.ndarray, "n"]:
        """Standard deviation of each landmark along each axis (root mean square), all causes together."""
        shared = (self.factors**2).sum(0).mean(-1)
        return np.sqrt(shared + self.rest**2)

    def whiten(self, errors: Float[np.ndarray, "m n 2"]) -> Float[np.ndarray, "r m"]:
        """Errors in numbers that are independent and have deviation 1, one column for each."""
        whitened: Float[np.ndarray, "r m"] = solve_triangular(self._root, _columns(errors), lower=True)
        return whitened

    @cached_property
    def _root(self) -> Float[np.ndarray, "r r"]:
        """Cholesky factor of the covariance of all coordinates."""
        flat = _columns(self.factors).T
        root: Float[np.ndarray, "r r"] = np.linalg.cholesky(flat.T @ flat + np.diag(np.repeat(self.rest**2, 2)))
        return root


def independent(deviation: Float[np.ndarray, "n"]) -> LandmarkErrors:
    """Errors without mean, each landmark's its own."""
    count = len(deviation)
    return LandmarkErrors(np.zeros((POSE_TERMS, count, 2)), np.zeros((0, count, 2)), deviation)


def pose_terms(yaw_deg: float, pitch_deg: float) -> Float[np.ndarray, "6"]:
    """Polynomial of second degree in the angles of ``pose.head_angles``."""
    yaw = np.clip(yaw_deg, -FARTHEST_YAW_DEG, FARTHEST_YAW_DEG) / YAW_UNIT_DEG
    pitch = np.clip(pitch_deg, -FARTHEST_PITCH_DEG, FARTHEST_PITCH_DEG) / PITCH_UNIT_DEG
    return np.array([1.0, yaw, pitch, yaw * yaw, yaw * pitch, pitch * pitch])


def upright(camera: Camera) -> Float[np.ndarray, "2 2"]:
    """Rows: where the head's left and up point in the image."""
    up = camera.cam2world[1, :2] / max(float(np.linalg.norm(camera.cam2world[1, :2])), 1e-9)
    return np.stack([[-up[1], up[0]], up])


def image_error(
    camera: Camera, points: Float[np.ndarray, "n 3"], seen: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """How far landmarks are from points of the head, metres along the head's left and up.

    Args:
        camera: In the head's frame.
        points: Where the landmarks are on the head, metres.
        seen: Where they were detected, image widths.
    """
    image, depth = project(camera, points)
    error: Float[np.ndarray, "n 2"] = (seen - image) * depth[:, None] / camera.intrinsics[0, 0] @ upright(camera).T
    return error


def in_image(
    camera: Camera, points: Float[np.ndarray, "n 3"], error: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """The inverse of ``image_error``: an error as a shift in image widths."""
    _, depth = project(camera, points)
    shift: Float[np.ndarray, "n 2"] = error @ upright(camera) * camera.intrinsics[0, 0] / depth[:, None]
    return shift


def _columns(errors: Float[np.ndarray, "m n 2"]) -> Float[np.ndarray, "r m"]:
    return errors.reshape(len(errors), errors.shape[1] * 2).T
