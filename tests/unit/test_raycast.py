# SPDX-License-Identifier: Apache-2.0
import pickle

import numpy as np
import pytest
import trimesh

from backend.camera import look_at_camera, project
from backend.mesh import Mesh
from backend.raycast import Caster, render_mesh, sample_bilinear

TRIANGLE = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
FACE = np.array([[0, 1, 2]])


def test_a_ray_meets_a_triangle_where_geometry_says():
    caster = Caster(TRIANGLE, FACE)
    origins = np.array([[0.2, 0.3, 2.0], [0.9, 0.9, 2.0]])
    triangle, barycentric, distance = caster.first_hit(origins, np.array([[0.0, 0.0, -5.0], [0.0, 0.0, -1.0]]))
    np.testing.assert_array_equal(triangle, [0, -1])
    np.testing.assert_allclose(barycentric, [[0.5, 0.2, 0.3], [0.0, 0.0, 0.0]], atol=1e-5)
    np.testing.assert_allclose(distance, [2.0, np.inf], rtol=1e-6)


@pytest.mark.parametrize(("centre", "radius"), [((0.0, 0.0, 0.0), 1.0), ((1000.0, -300.0, 50.0), 0.1)])
def test_distances_to_a_sphere_hold_anywhere_and_at_any_size(centre, radius):
    ball = trimesh.creation.icosphere(subdivisions=6)
    caster = Caster(np.asarray(ball.vertices) * radius + centre, np.asarray(ball.faces))
    directions = np.random.default_rng(0).normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    _, _, distance = caster.first_hit(centre + 20 * radius * directions, -directions)
    np.testing.assert_allclose(distance, 19 * radius, atol=3e-4 * radius)


def test_hit_points_lie_on_the_ray_and_on_the_triangle():
    ball = trimesh.creation.icosphere(subdivisions=4)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    generator = np.random.default_rng(1)
    origins, directions = generator.normal(size=(2, 3000, 3))
    triangle, barycentric, distance = Caster(vertices, faces).first_hit(origins, directions)
    hit = triangle >= 0
    assert 0.2 < hit.mean() < 1
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    on_triangle = np.einsum("nk,nkc->nc", barycentric[hit], vertices[faces[triangle[hit]]])
    np.testing.assert_allclose(on_triangle, (origins + distance[:, None] * unit)[hit], atol=2e-5)


def test_blocked_means_something_nearer_than_the_reach():
    caster = Caster(TRIANGLE, FACE)
    origins = np.array([[0.2, 0.2, 100.0]])
    down = np.array([[0.0, 0.0, -1.0]] * 3)
    np.testing.assert_array_equal(caster.is_blocked(origins, down, np.array([99.9, 100.1, 1e9])), [False, True, True])
    assert not caster.is_blocked(origins, -down, 1e9).any()


def test_no_rays_give_no_hits():
    caster, none = Caster(TRIANGLE, FACE), np.zeros((0, 3))
    assert [len(part) for part in caster.first_hit(none, none)] == [0, 0, 0]
    assert len(caster.is_blocked(none, none, 1.0)) == 0


def test_bilinear_sampling_is_exact_for_a_ramp_and_clamps_outside():
    ramp = np.arange(8.0)[None, :, None].repeat(4, axis=0)
    x = np.array([0.5, 3.25, 7.5, -4.0, 99.0])
    np.testing.assert_allclose(sample_bilinear(ramp, x, np.full(5, 2.0))[:, 0], [0, 2.75, 7, 0, 7], atol=1e-6)


def quad_mesh() -> Mesh:
    vertices = np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    uv = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), uv=uv)


def test_a_square_seen_from_the_front_shows_its_texture_upright():
    texture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=4.0, focal=2.0)
    picture = render_mesh(quad_mesh(), texture, camera, 16, supersample=1)
    np.testing.assert_allclose(picture.astype(int), texture.astype(int), atol=1)


def test_the_background_and_the_projection_agree_with_the_camera():
    texture = np.full((4, 4, 3), 200, np.uint8)
    camera = look_at_camera(yaw_deg=30, pitch_deg=10, distance=6.0, focal=1.5)
    picture = render_mesh(quad_mesh(), texture, camera, 64, background=(255, 0, 255))
    corner = project(camera, quad_mesh().vertices * 0.9)[0] * 64
    outside = project(camera, quad_mesh().vertices * 1.3)[0] * 64
    for x, y in corner.astype(int):
        assert tuple(picture[y, x]) == (200, 200, 200)
    for x, y in outside.astype(int):
        assert tuple(picture[y, x]) == (255, 0, 255)


def test_headlight_shading_darkens_what_turns_away():
    texture = np.full((4, 4, 3), 200, np.uint8)
    centres = []
    for yaw_deg in (0, 60):
        camera = look_at_camera(yaw_deg=yaw_deg, pitch_deg=0, distance=6.0, focal=2.0)
        centres.append(int(render_mesh(quad_mesh(), texture, camera, 33, shaded=True)[16, 16, 0]))
    assert centres[0] == 200
    assert centres[1] == pytest.approx(200 * (0.35 + 0.65 * 0.5), abs=2)


def test_a_mesh_without_uv_cannot_be_rendered():
    with pytest.raises(ValueError, match="uv"):
        render_mesh(
            Mesh(TRIANGLE, FACE),
            np.zeros((1, 1, 3), np.uint8),
            look_at_camera(yaw_deg=0, pitch_deg=0, distance=1.0, focal=1.0),
            4,
        )


def test_a_caster_goes_to_another_process():
    caster = Caster(TRIANGLE, FACE)
    ray = np.array([[0.2, 0.3, 2.0]]), np.array([[0.0, 0.0, -1.0]])
    sent = pickle.loads(pickle.dumps(caster))  # noqa: S301 - our own.
    for one, again in zip(caster.first_hit(*ray), sent.first_hit(*ray), strict=True):
        np.testing.assert_array_equal(one, again)
    assert caster.first_hit(*ray)[2][0] == pytest.approx(2)


@pytest.mark.parametrize("watertight", [True, False])
def test_a_ball_hides_what_lies_behind_it(watertight):
    ball = trimesh.creation.icosphere(subdivisions=4)
    caster = Caster(np.asarray(ball.vertices), np.asarray(ball.faces), watertight=watertight)
    sent = pickle.loads(pickle.dumps(caster))  # noqa: S301 - our own.
    places = np.random.default_rng(2).uniform(-2, 2, (4000, 2))
    start = np.concatenate([places, np.full((4000, 1), 3.0)], axis=1).astype(np.float32)
    towards = np.broadcast_to(np.array([0.0, 0.0, -1.0], np.float32), start.shape)
    radius = np.linalg.norm(places, axis=1)
    clear = np.abs(radius - 1) > 0.01
    for one in (caster, sent):
        np.testing.assert_array_equal(one.is_blocked(start, towards, np.inf)[clear], (radius < 1)[clear])
