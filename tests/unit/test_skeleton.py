# SPDX-License-Identifier: Apache-2.0
import numpy as np

from backend.skeleton import Skeleton

SKELETON = Skeleton(np.array([[0.0, -0.10, -0.02], [0.0, -0.04, 0.01]]))
POINTS = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 3))
HEAD, NECK, TORSO = (np.tile(share, (50, 1)) for share in ([0.0, 1.0], [1.0, 0.0], [0.0, 0.0]))
POSE = np.array([0.2, -0.1, 0.05, -0.3, 0.4, 0.1])


def test_at_rest_nothing_moves():
    np.testing.assert_array_equal(SKELETON.place(POINTS, HEAD, np.zeros(6)), POINTS)


def test_the_torso_stays():
    np.testing.assert_allclose(SKELETON.place(POINTS, TORSO, POSE), POINTS)


def test_the_head_turns_rigidly_about_its_joint():
    pose = np.array([0, 0, 0, 0, np.pi / 2, 0])
    placed = SKELETON.place(POINTS, HEAD, pose)
    arm = POINTS - SKELETON.joints[1]
    truth = SKELETON.joints[1] + np.stack([arm[:, 2], arm[:, 1], -arm[:, 0]], axis=1)
    np.testing.assert_allclose(placed, truth, atol=1e-12)


def test_the_neck_takes_the_heads_joint_along():
    placed = SKELETON.place(SKELETON.joints[1:], np.array([[0.0, 1.0]]), np.append(POSE[:3], [0.0, 0.0, 0.0]))
    with_neck = SKELETON.place(SKELETON.joints[1:], np.array([[1.0, 0.0]]), POSE)
    np.testing.assert_allclose(placed, with_neck, atol=1e-12)


def test_distances_on_the_head_are_kept():
    placed = SKELETON.place(POINTS, HEAD, POSE)
    before, after = (np.linalg.norm(place[1:] - place[0], axis=1) for place in (POINTS, placed))
    np.testing.assert_allclose(after, before, atol=1e-12)


def test_half_a_share_goes_half_the_way():
    neck = SKELETON.place(POINTS, NECK, POSE)
    half = SKELETON.place(POINTS, NECK / 2, POSE)
    np.testing.assert_allclose(half, (neck + POINTS) / 2, atol=1e-12)


def test_the_opposite_turn_undoes_a_turn():
    pose = np.append(np.zeros(3), POSE[3:])
    back = -pose
    once = SKELETON.place(POINTS, HEAD, pose)
    np.testing.assert_allclose(SKELETON.place(once, HEAD, back), POINTS, atol=1e-12)


def test_mirrored_poses_give_mirrored_points():
    flip = np.array([1, -1, -1, 1, -1, -1])  # Turns are axial vectors.
    mirrored = SKELETON.place(POINTS * [-1, 1, 1], HEAD, POSE * flip)
    np.testing.assert_allclose(mirrored, SKELETON.place(POINTS, HEAD, POSE) * [-1, 1, 1], atol=1e-12)
