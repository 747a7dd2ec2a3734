# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from backend import face_mesh_points as points
from backend.alignment import Portrait
from backend.camera import look_at_camera, project
from backend.photo import Photo
from backend.pose import EYE_DISTANCE_M, fit_camera, head_angles, initial_focal, principal_point
from tests.cameras import rolled


def face_points(seed=0):
    """A bulging patch the size of a face, metres, nose towards +z."""
    x, y = np.random.default_rng(seed).uniform([-0.07, -0.1], [0.07, 0.1], (200, 2)).T
    return np.stack([x, y, 0.09 - 9 * x**2 - 4 * y**2 + 0.02 * np.exp(-(x**2 + y**2) / 2e-4)], axis=1)


def angle_between(one, other):
    cosine = (np.trace(one.cam2world[:3, :3].T @ other.cam2world[:3, :3]) - 1) / 2
    return math.degrees(math.acos(min(1.0, cosine)))


def random_cameras(count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        yaw, pitch, roll = rng.uniform([-80, -50, -180], [80, 50, 180])
        focal = rng.uniform(1.2, 6)
        camera = look_at_camera(yaw_deg=yaw, pitch_deg=pitch, distance=rng.uniform(0.3, 1) * focal, focal=focal)
        yield rolled(camera, roll, at=rng.uniform(0.2, 0.8, 2))


def test_the_camera_is_recovered_from_its_own_projections():
    world = face_points()
    for camera in random_cameras(40):
        image, _ = project(camera, world)
        found = fit_camera(world, image, focal=camera.intrinsics[0, 0], principal_point=tuple(camera.intrinsics[:2, 2]))
        np.testing.assert_allclose(found.cam2world, camera.cam2world, atol=1e-6)
        np.testing.assert_allclose(found.intrinsics, camera.intrinsics)


def test_noise_and_outliers_do_not_flip_the_camera():
    world = face_points()
    rng = np.random.default_rng(2)
    for camera in random_cameras(40):
        image, _ = project(camera, world)
        size = np.ptp(image, axis=0).max()
        image += rng.normal(0, 0.005 * size, image.shape)
        image[:20] += rng.uniform(-1, 1, (20, 2)) * size
        found = fit_camera(world, image, focal=camera.intrinsics[0, 0], principal_point=tuple(camera.intrinsics[:2, 2]))
        assert angle_between(found, camera) < 2


def test_untrusted_points_have_no_say():
    world, camera = face_points(), look_at_camera(yaw_deg=20, pitch_deg=5, distance=1.2, focal=2.5)
    image, _ = project(camera, world)
    image[::2] = 0.1
    trust = np.tile([0.0, 1.0], 100)
    found = fit_camera(world, image, focal=2.5, weights=trust)
    np.testing.assert_allclose(found.cam2world, camera.cam2world, atol=1e-6)


def test_without_a_lens_the_camera_stands_1_2_metres_away():
    camera = look_at_camera(yaw_deg=10, pitch_deg=0, distance=1.2, focal=2.5)
    image, _ = project(camera, face_points())
    found = fit_camera(face_points(), image, focal=None)
    assert np.linalg.norm(found.position - face_points().mean(0)) == pytest.approx(1.2, rel=0.02)
    assert angle_between(found, camera) < 1


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="6 points"):
        fit_camera(np.zeros((5, 3)), np.zeros((5, 2)), focal=2.0)


@pytest.mark.parametrize(
    ("yaw_deg", "pitch_deg", "roll_deg"), [(0, 0, 0), (35, -20, 15), (-60, 40, -100), (170, 10, 5)]
)
def test_angles_are_those_the_camera_was_made_with(yaw_deg, pitch_deg, roll_deg):
    camera = look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=2, focal=2)
    np.testing.assert_allclose(head_angles(rolled(camera, -roll_deg)), (yaw_deg, pitch_deg, roll_deg), atol=1e-9)


def test_a_head_that_leans_right_in_the_image_has_positive_roll():
    camera = rolled(look_at_camera(yaw_deg=0, pitch_deg=0, distance=2, focal=2), -10)
    (neck, crown), _ = project(camera, np.array([[0.0, -0.1, 0], [0, 0.1, 0]]))
    assert crown[0] > neck[0]
    assert head_angles(camera)[2] == pytest.approx(10)


def portrait_of(photo_to_portrait, eye_px=60.0, size_px=512):
    """A portrait with eyes ``eye_px`` apart."""
    landmarks = np.zeros((points.COUNT, 2))
    landmarks[[points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER], 0] = eye_px
    image, coverage = torch.zeros(1, 3, size_px, size_px), torch.ones(1, 1, size_px, size_px)
    return Portrait(image, photo_to_portrait, landmarks, np.zeros(points.COUNT), coverage)


def photo_of(focal_35mm, size=(3000, 4500)):
    return Photo(np.zeros((*size, 3), np.uint8), focal_35mm, "", "photo.jpg")


def test_the_lens_of_a_full_frame_photo():
    # 36 mm are 4500 pixels, so 85 mm are 10625; the portrait is 2048 photo pixels wide.
    portrait = portrait_of(np.diag([0.25, 0.25, 1]))
    assert initial_focal(photo_of(85.0), portrait) == pytest.approx(85 / 36 * 4500 / 2048)
    assert initial_focal(photo_of(85.0, size=(4500, 3000)), portrait) == pytest.approx(85 / 36 * 4500 / 2048)


def test_an_unknown_lens_sees_the_eyes_at_1_2_metres():
    focal = initial_focal(photo_of(None), portrait_of(np.eye(3)))
    assert focal * 512 * EYE_DISTANCE_M / 1.2 == pytest.approx(60)


def test_the_principal_point_is_the_photos_middle_where_the_lens_is_known():
    shift = np.array([[0.5, 0, -100], [0, 0.5, -200], [0, 0, 1]])
    x, y = principal_point(photo_of(50.0, size=(1000, 1600)), portrait_of(shift))
    assert (x * 512, y * 512) == pytest.approx((300, 50))
    assert principal_point(photo_of(None), portrait_of(shift)) == (0.5, 0.5)
