# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import trimesh

from backend.cylinder import face_parts, unroll


def ball():
    mesh = trimesh.creation.uv_sphere(radius=0.1, count=[48, 48])
    points = mesh.vertices[:, [1, 2, 0]]  # Axis upwards.
    return points, mesh.faces


def test_u_grows_from_the_back_over_the_right_the_face_and_the_left():
    points, faces = ball()
    unrolled = unroll(points, faces)
    beside_axis = np.hypot(points[:, 0], points[:, 2]) > 0.05
    for direction, u in (((-1, -0.01), 0.25), ((0, 1), 0.5), ((1, -0.01), 0.75)):
        aimed = beside_axis & (points[:, [0, 2]] @ direction > 0.99 * np.hypot(points[:, 0], points[:, 2]))
        assert abs(np.median(unrolled.u[aimed]) - u) < 0.12
    assert unrolled.u.min() >= 0
    assert unrolled.u.max() <= 1


def test_left_and_right_are_mirror_images():
    points, faces = ball()
    unrolled = unroll(points, faces)
    for index in np.flatnonzero(np.hypot(points[:, 0], points[:, 2]) > 0.03)[::50]:
        twin = np.argmin(np.linalg.norm(points - points[index] * [-1, 1, 1], axis=1))
        assert (unrolled.u[index] + unrolled.u[twin]) % 1 == pytest.approx(0, abs=1e-6) or unrolled.u[
            index
        ] + unrolled.u[twin] == pytest.approx(1, abs=1e-6)
        assert unrolled.v[index] == pytest.approx(unrolled.v[twin], abs=1e-3)


def test_v_falls_with_height_on_a_ball():
    points, faces = ball()
    unrolled = unroll(points, faces)
    order = np.argsort(points[:, 1])
    assert (np.diff(unrolled.v[order]) < 1e-3).all()
    assert (unrolled.v.min(), unrolled.v.max()) == (0, 1)


def test_crown_and_base_are_the_ends():
    points, faces = ball()
    unrolled = unroll(points, faces)
    centre = points[faces].mean(axis=1)
    assert centre[unrolled.crown, 1].min() > 0.08
    assert centre[unrolled.base, 1].max() < -0.05
    assert unrolled.reach == pytest.approx(np.hypot(centre[:, 0], centre[:, 2]), abs=5e-3)


def test_the_face_gets_more_of_the_way_around_than_the_back():
    points, faces = ball()
    u = unroll(points, faces).u
    azimuth = np.arctan2(points[:, 0], points[:, 2])
    ring = np.abs(points[:, 1]) < 0.02
    front = np.ptp(u[ring & (np.abs(azimuth) < np.radians(45))])
    assert front > 1.3 * 0.25


def test_parts_are_numbered():
    faces = np.array([[0, 1, 2], [5, 6, 7], [2, 3, 4]])
    labels = face_parts(faces)
    assert labels[0] == labels[2] != labels[1]
    assert sorted(set(labels.tolist())) == [0, 1]
    assert len(face_parts(faces[:0])) == 0
