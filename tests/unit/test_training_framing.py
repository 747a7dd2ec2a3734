# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.camera import project
from backend.training.framing import (
    HEAD_CENTRE_M,
    LENSES_MM,
    Framing,
    lens_distance,
    sample_framing,
    studio_framing,
)

PLAIN = Framing(0.0, 0.0)
UP, LEFT = HEAD_CENTRE_M + np.array([0, 0.1, 0]), HEAD_CENTRE_M + np.array([0.1, 0, 0])


def seen(framing, *points):
    return project(framing.camera(), np.array(points))[0]


def test_the_plain_portrait_shows_its_width_at_the_head():
    centre, above, left = seen(PLAIN, HEAD_CENTRE_M, UP, LEFT)
    np.testing.assert_allclose(centre, [0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(above, [0.5, 0.5 - 0.1 / PLAIN.frame_m], atol=1e-12)
    np.testing.assert_allclose(left, [0.5 + 0.1 / PLAIN.frame_m, 0.5], atol=1e-12)


@pytest.mark.parametrize(("roll", "expected"), [(90.0, (-0.25, 0.0)), (-90.0, (0.25, 0.0)), (180.0, (0.0, 0.25))])
def test_a_camera_rolled_clockwise_turns_the_picture_the_other_way(roll, expected):
    np.testing.assert_allclose(seen(replace(PLAIN, roll_deg=roll), UP)[0] - 0.5, expected, atol=1e-9)


def test_a_long_lens_from_afar_shows_the_head_as_large_and_flatter():
    near, far = (replace(PLAIN, distance_m=distance) for distance in (0.6, 3.0))
    for framing in (near, far):
        np.testing.assert_allclose(seen(framing, LEFT)[0, 0] - 0.5, 0.25)
    nose = HEAD_CENTRE_M + np.array([0.1, 0, 0.1])
    assert seen(near, nose)[0, 0] - 0.5 == pytest.approx(0.25 * 0.6 / 0.5)
    assert seen(far, nose)[0, 0] - 0.5 == pytest.approx(0.25 * 3.0 / 2.9)


def test_lens_distance_is_the_pinhole_formula():
    # A 50 mm lens shows 24 mm / 50 mm of its distance.
    assert lens_distance(50, 0.48) == pytest.approx(1.0)


def test_a_crop_beside_the_photos_centre_keeps_the_head_in_place_and_its_principal_point_outside():
    framing = replace(PLAIN, aim=(0.8, -0.2), shift=(0.05, 0.02), roll_deg=20)
    camera = framing.camera()
    np.testing.assert_allclose(seen(framing, HEAD_CENTRE_M)[0], [0.55, 0.52], atol=1e-9)
    away = camera.intrinsics[:2, 2] - [0.55, 0.52]
    assert np.linalg.norm(away) == pytest.approx(np.hypot(0.8, 0.2))
    np.testing.assert_allclose(np.linalg.norm(camera.position - HEAD_CENTRE_M), framing.distance_m)
    np.testing.assert_allclose(camera.cam2world[:3, :3] @ camera.cam2world[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.cam2world[:3, :3]) == pytest.approx(1)


def test_without_roll_the_head_leaves_the_axis_where_aim_says():
    camera = replace(PLAIN, aim=(0.3, -0.4)).camera()
    np.testing.assert_allclose([0.5, 0.5] - camera.intrinsics[:2, 2], [0.3, -0.4], atol=1e-9)


def test_the_turntable_looks_from_where_it_is_asked_to():
    position = studio_framing(90.0).camera().position - HEAD_CENTRE_M
    np.testing.assert_allclose(position, [2.0, 0, 0], atol=1e-9)


def test_sampled_framings_repeat_and_cover_what_people_do():
    framings = [sample_framing(np.random.default_rng(seed)) for seed in range(400)]
    assert framings[7] == sample_framing(np.random.default_rng(7))
    yaw = np.array([framing.yaw_deg for framing in framings])
    assert 0.4 < (np.abs(yaw) < 20).mean() < 0.8 and (np.abs(yaw) > 60).any()
    frames = np.array([framing.frame_m for framing in framings])
    assert frames.min() > 0.2 and frames.max() < 0.7
    distance = np.array([framing.distance_m for framing in framings])
    assert distance.min() >= 0.45 and distance.max() <= lens_distance(LENSES_MM[1], 0.9)
    for framing in framings[:40]:
        head = seen(framing, HEAD_CENTRE_M)[0]
        np.testing.assert_allclose(head, 0.5 + np.array(framing.shift), atol=1e-9)
