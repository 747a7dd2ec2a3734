# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from backend.camera import look_at_camera, project
from backend.landmark_errors import (
    FARTHEST_YAW_DEG,
    POSE_TERMS,
    LandmarkErrors,
    image_error,
    in_image,
    independent,
    pose_terms,
)
from tests.cameras import rolled

POINTS = 7


def random_errors(seed=0, factors=3):
    random = np.random.default_rng(seed)
    bias = random.normal(0, 0.001, (POSE_TERMS, POINTS, 2))
    return LandmarkErrors(bias, random.normal(0, 0.002, (factors, POINTS, 2)), random.uniform(0.0002, 0.001, POINTS))


def covariance(errors):
    flat = errors.factors.reshape(len(errors.factors), 2 * POINTS)
    return flat.T @ flat + np.diag(np.repeat(errors.rest**2, 2))


@pytest.mark.parametrize("factors", [0, 3])
def test_whitened_errors_are_independent_with_deviation_one(factors):
    errors = random_errors(factors=factors)
    whitening = errors.whiten(np.eye(2 * POINTS).reshape(-1, POINTS, 2))
    np.testing.assert_allclose(whitening @ covariance(errors) @ whitening.T, np.eye(2 * POINTS), atol=1e-9)


def test_deviation_is_the_root_of_the_mean_variance_of_both_axes():
    errors = random_errors()
    expected = np.sqrt(np.diag(covariance(errors)).reshape(-1, 2).mean(1))
    np.testing.assert_allclose(errors.deviation, expected)
    np.testing.assert_allclose(independent(errors.rest).deviation, errors.rest)


def test_the_mean_is_a_polynomial_of_the_direction_and_constant_beyond_what_was_seen():
    errors = random_errors()
    front = look_at_camera(yaw_deg=0, pitch_deg=0, distance=1, focal=3)
    np.testing.assert_allclose(errors.mean(front), errors.bias[0], atol=1e-9)
    aside = look_at_camera(yaw_deg=30, pitch_deg=-15, distance=1, focal=3)
    expected = np.tensordot([1, 1, -1, 1, -1, 1], errors.bias, 1)
    np.testing.assert_allclose(errors.mean(aside), expected, atol=1e-9)
    np.testing.assert_array_equal(pose_terms(80, 0), pose_terms(FARTHEST_YAW_DEG, 0))


@pytest.mark.parametrize("roll_deg", [0, 25, -70])
def test_errors_are_metres_along_the_heads_left_and_up_whatever_the_roll(roll_deg):
    camera = rolled(look_at_camera(yaw_deg=0, pitch_deg=0, distance=1, focal=3), roll_deg)
    points = np.random.default_rng(3).normal(0, 0.05, (POINTS, 3))
    seen, _ = project(camera, points + np.array([0.002, -0.001, 0]))
    np.testing.assert_allclose(image_error(camera, points, seen), np.tile([0.002, -0.001], (POINTS, 1)), atol=1e-9)


def test_an_error_put_into_the_image_is_found_there():
    camera = rolled(look_at_camera(yaw_deg=-35, pitch_deg=12, distance=0.8, focal=2), 15)
    random = np.random.default_rng(4)
    points, error = random.normal(0, 0.05, (POINTS, 3)), random.normal(0, 0.002, (POINTS, 2))
    seen = project(camera, points)[0] + in_image(camera, points, error)
    np.testing.assert_allclose(image_error(camera, points, seen), error, atol=1e-12)
