# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from backend.camera import look_at_camera, rays
from backend.training.light import Lamp, Light, direction_from_angles, linear_from_srgb
from backend.training.render import VISIBLE, _differs, _spots_of_disc, contact_sheet, render_portrait
from backend.training.subject import CLEAR, HAIR, SOLID, Hits, Subject, Surface

RADIUS, DISTANCE, SIZE = 0.15, 1.0, 96
CAMERA = look_at_camera(yaw_deg=20, pitch_deg=10, distance=DISTANCE, focal=2.2)
ALBEDO = np.array([0.7, 0.5, 0.4])
KEY_ONLY = Light(
    direction_from_angles(0, 0), np.ones(3), np.zeros(3), np.zeros(3), np.zeros(3), exposure=1.0, softness=0.0
)


def painted(vertices, faces, *, shine=0.0, kind=None, opacity=None):
    """A subject of one colour; ``opacity`` of the triangles that are not solid."""
    kinds = np.full(len(faces), SOLID) if kind is None else np.asarray(kind)

    def surface(hits: Hits) -> Surface:
        count = len(hits.triangle)
        albedo = np.tile(linear_from_srgb(ALBEDO), (count, 1)).astype(np.float32)
        cover = None if opacity is None else np.where(hits.kind == SOLID, 1.0, opacity).astype(np.float32)
        return Surface(albedo, np.full(count, shine, np.float32), opacity=cover)

    return Subject(np.asarray(vertices, dtype=float), np.asarray(faces, dtype=np.int64), kinds, surface)


@pytest.fixture(scope="module")
def sphere():
    ball = trimesh.creation.icosphere(subdivisions=5, radius=RADIUS)
    return painted(ball.vertices, ball.faces)


@pytest.fixture(scope="module")
def rendering(sphere):
    return render_portrait(sphere, CAMERA, KEY_ONLY, size_px=SIZE)


def true_sphere():
    """Depth and normal of the exact sphere at pixel centres, and where it is seen at a glance or not at all."""
    origin, directions = rays(CAMERA, SIZE)
    along = directions @ origin
    inside = along**2 - (origin @ origin - RADIUS**2)
    distance = np.where(inside > 0, -along - np.sqrt(np.maximum(inside, 0)), np.inf)
    points = origin + np.where(inside > 0, distance, 0)[..., None] * directions
    normal = points / RADIUS
    rim = (inside <= 0) | (np.einsum("xyc,xyc->xy", normal, -directions) < 0.3)
    return distance * (directions @ CAMERA.cam2world[:3, 2]), normal, rim


def test_depth_and_normal_of_a_sphere_match_the_formula(rendering):
    depth, normal, rim = true_sphere()
    both = np.isfinite(depth) & np.isfinite(rendering.depth)
    assert (np.isfinite(depth) != np.isfinite(rendering.depth)).sum() < 0.01 * both.sum()
    np.testing.assert_allclose(rendering.depth[both & ~rim], depth[both & ~rim], atol=2e-4)
    np.testing.assert_allclose(rendering.normal[both & ~rim], normal[both & ~rim], atol=6e-3)


def test_alpha_covers_the_area_of_the_sphere(rendering):
    # Seen under the half angle asin(r / d), the outline is a circle of radius focal * tan of it, in image widths.
    outline = 2.2 * np.tan(np.arcsin(RADIUS / DISTANCE))
    assert rendering.rgba[..., 3].mean() / 255 == pytest.approx(np.pi * outline**2, rel=0.01)


def test_background_is_empty(rendering):
    empty = rendering.triangle < 0
    assert empty[0, 0]
    assert np.isinf(rendering.depth[empty]).all()
    assert not rendering.normal[empty].any() and not rendering.barycentric[empty].any()
    assert not rendering.rgba[0, 0].any()


def test_triangle_and_barycentric_lead_to_the_seen_point(sphere, rendering):
    origin, directions = rays(CAMERA, SIZE)
    seen = rendering.triangle >= 0
    corners = sphere.vertices[sphere.faces[rendering.triangle[seen]]]
    points = np.einsum("nk,nkc->nc", rendering.barycentric[seen], corners)
    along = directions[seen] @ CAMERA.cam2world[:3, 2]
    np.testing.assert_allclose(points, origin + (rendering.depth[seen] / along)[:, None] * directions[seen], atol=1e-5)


def test_a_surface_that_faces_the_light_shows_its_albedo(sphere):
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=DISTANCE, focal=2.2)
    middle = render_portrait(sphere, camera, KEY_ONLY, size_px=33).rgba[16, 16]
    np.testing.assert_allclose(middle[:3], ALBEDO * 255, atol=2)


def two_squares(gap):
    """A large square at z = 0 and a small one before it."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    small = square * 0.2 + [0, 0, gap]
    return np.concatenate([square, small]), np.concatenate([faces, faces + 4])


def test_an_occluder_throws_its_shadow_away_from_the_light():
    subject = painted(*two_squares(0.5))
    light = replace(KEY_ONLY, direction=direction_from_angles(45, 0))
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=50, focal=25)  # Shows x from -1 to 1, nearly parallel.
    picture = render_portrait(subject, camera, light, size_px=100).rgba[50, :, :3].mean(axis=1)
    # Light from +x at 45 degrees shifts the shadow of [-0.2, 0.2] by the gap of 0.5 towards -x.
    assert picture[16:34].max() < 5
    assert picture[5:13].min() > 80 and picture[65:95].min() > 80
    lit_again = render_portrait(subject, camera, KEY_ONLY, size_px=100).rgba[50, 20, :3].mean()
    assert lit_again > 100


def test_a_soft_light_blurs_the_shadow_edge():
    subject = painted(*two_squares(0.5))
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=50, focal=25)

    def partly_lit(softness):
        light = replace(KEY_ONLY, direction=direction_from_angles(45, 0), softness=softness)
        rows = render_portrait(subject, camera, light, size_px=60).rgba[24:36, 2:28, :3].mean(axis=(0, 2))
        return ((rows > 0.1 * rows.max()) & (rows < 0.9 * rows.max())).sum()

    assert partly_lit(0.3) > partly_lit(0.0)


def test_a_sphere_sees_all_of_its_surroundings(sphere):
    np.testing.assert_allclose(sphere.openness, 1, atol=1e-5)


def test_the_floor_of_a_deep_box_sees_little():
    box = trimesh.creation.box(extents=(1, 4, 1))
    keep = box.face_normals[:, 1] < 0.5
    vertices, faces = box.vertices, box.faces[keep][:, ::-1]  # Open at the top and seen from inside.
    floor = np.array([[-0.1, -1.9, -0.1], [0.1, -1.9, -0.1], [0.0, -1.9, 0.1]])
    subject = painted(np.concatenate([vertices, floor]), np.concatenate([faces, [[10, 9, 8]]]))
    assert subject.openness[8:].max() < 0.1


def test_coarsely_baked_light_is_close_to_the_exact(sphere):
    coarse = Subject(
        sphere.vertices, sphere.faces, sphere.kind, sphere.surface_of_hit, np.full(len(sphere.vertices), 0.01)
    )
    above = np.maximum(sphere.sky[:, 1:2], 0)
    assert np.abs(coarse.surround(above) - sphere.surround(above)).max() < 0.05


def test_a_lamp_lights_its_own_side(sphere):
    lamp = Lamp(direction_from_angles(90, 0), np.ones(3), 0.3)
    light = replace(KEY_ONLY, key=np.zeros(3), lamps=(lamp,))
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=DISTANCE, focal=2.2)
    row = render_portrait(sphere, camera, light, size_px=64).rgba[32, :, :3].mean(1)
    assert row[42] > 1.5 * row[32] > 2 * row[22]


@pytest.mark.parametrize("kind", [HAIR, CLEAR])
def test_what_lies_behind_shows_through(kind):
    vertices, faces = two_squares(0.5)
    subject = painted(vertices, faces, kind=[SOLID, SOLID, kind, kind], opacity=0.25)
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=50, focal=25)
    picture = render_portrait(subject, camera, KEY_ONLY, size_px=50)
    # Hardly there: the pixel belongs to the square behind.
    assert picture.depth[25, 25] == pytest.approx(50, abs=1e-3)
    assert picture.triangle[25, 25] in (0, 1)
    alone = Subject(vertices[4:], faces[2:] - 4, np.full(2, kind), subject.surface_of_hit)
    assert render_portrait(alone, camera, KEY_ONLY, size_px=50).rgba[25, 25, 3] == 64


@pytest.mark.parametrize(("depth", "alpha"), [(0.004, 64), (0.3, 255)])
def test_thick_hair_has_no_holes_to_the_backdrop_and_a_thin_lock_does(depth, alpha):
    vertices, faces = two_squares(0.5)
    lock = np.concatenate([vertices[4:], vertices[4:] - [0, 0, depth]])
    subject = painted(lock, faces, kind=[HAIR] * 4, opacity=0.25)
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=50, focal=25)
    assert render_portrait(subject, camera, KEY_ONLY, size_px=50).rgba[25, 25, 3] == alpha


@pytest.mark.parametrize(("depth", "seen_m"), [(0.004, 50), (0.3, 49.5)])
def test_thick_hair_has_no_holes_to_what_is_far_behind_it(depth, seen_m):
    vertices, faces = two_squares(0.5)
    lock = np.concatenate([vertices, vertices[4:] - [0, 0, depth]])
    subject = painted(lock, np.concatenate([faces, faces[2:] + 4]), kind=[SOLID] * 2 + [HAIR] * 4, opacity=0.25)
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=50, focal=25)
    picture = render_portrait(subject, camera, KEY_ONLY, size_px=50)
    assert picture.depth[25, 25] == pytest.approx(seen_m, abs=1e-3)


@pytest.mark.parametrize(("kind", "is_dark"), [(HAIR, True), (CLEAR, False)])
def test_hair_throws_a_shadow_and_a_lens_does_not(kind, is_dark):
    subject = painted(*two_squares(0.5), kind=[SOLID, SOLID, kind, kind], opacity=0.25)
    light = replace(KEY_ONLY, direction=direction_from_angles(45, 0))
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=50, focal=25)
    assert (render_portrait(subject, camera, light, size_px=100).rgba[50, 16:34, :3].max() < 5) == is_dark


def test_rendering_repeats_exactly(sphere, rendering):
    np.testing.assert_array_equal(render_portrait(sphere, CAMERA, KEY_ONLY, size_px=SIZE).rgba, rendering.rgba)


def test_nothing_in_view_gives_an_empty_picture(sphere):
    away = look_at_camera(yaw_deg=0, pitch_deg=0, distance=1, focal=2, target=np.array([5.0, 0, 0]))
    assert not render_portrait(sphere, away, KEY_ONLY, size_px=8).rgba.any()


def test_contact_sheet_places_pictures_row_by_row():
    red, clear = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8)
    red[:] = (255, 0, 0, 255)
    sheet = contact_sheet([red, clear, red], columns=2)
    assert sheet.shape == (4, 6, 3)
    assert (sheet[:2, :3] == (255, 0, 0)).all() and (sheet[:2, 3:] == 128).all()
    assert (sheet[2:, :3] == (255, 0, 0)).all() and not sheet[2:, 3:].any()
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], columns=2)


def test_pixels_differ_where_a_neighbour_of_theirs_does():
    samples = np.random.default_rng(0).uniform(0, 0.12, (9, 9, 5)).astype(np.float32)
    shown = np.sqrt(samples[..., :4])
    found = _differs(samples)
    for row in range(9):
        for column in range(9):
            near = shown[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].reshape(-1, 4)
            assert found[row, column] == (np.ptp(near, axis=0) > VISIBLE).any()
    assert found.any() and not _differs(np.full((4, 4, 5), 0.5, np.float32)).any()


@pytest.mark.parametrize("rays_of_hit", [1, 2, 12])
def test_shadow_rays_aim_evenly_at_the_lights_disc(rays_of_hit):
    spots = _spots_of_disc(rays_of_hit)
    assert len(spots) % rays_of_hit == 0
    squared = (spots**2).sum(1)
    # An even disc of radius 1 has a mean squared radius of 1/2, and of 1/4 along each axis.
    assert squared.max() <= 1 + 1e-6 and squared.mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose((spots**2).mean(0), 0.25, atol=0.01)
    np.testing.assert_allclose(spots.mean(0), 0, atol=0.01)
    if rays_of_hit > 1:
        middles = spots.reshape(-1, rays_of_hit, 2).mean(1)
        # So many spots at random would be spread by this much around the light's middle.
        assert np.sqrt((middles**2).sum(1).mean()) < 0.6 * np.sqrt(0.5 / rays_of_hit)


def test_normals_are_the_surfaces_own_where_its_inner_side_is_seen():
    vertices, faces = two_squares(0.5)
    subject = painted(vertices, faces)
    behind = look_at_camera(yaw_deg=180, pitch_deg=0, distance=50, focal=25)
    picture = render_portrait(subject, behind, replace(KEY_ONLY, direction=direction_from_angles(180, 0)), size_px=20)
    np.testing.assert_allclose(picture.normal[10, 10], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(picture.rgba[10, 10, :3], ALBEDO * 255, atol=2)  # Lit all the same.


def test_an_edge_is_as_soft_as_its_place_between_pixels():
    """Coverage of a slanted edge, against the share of the area of each pixel."""
    vertices, faces = two_squares(0.5)
    subject = painted(vertices[4:], faces[2:] - 4)
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=50, focal=25)
    camera = replace(camera, intrinsics=camera.intrinsics @ np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]))
    sides = [render_portrait(subject, camera, KEY_ONLY, size_px=40, supersample=side).rgba for side in (2, 12)]
    soft, true = (side[..., 3].astype(float) / 255 for side in sides)
    assert ((true > 0.02) & (true < 0.98)).sum() > 20
    assert np.sqrt(((soft - true) ** 2)[(true > 0) & (true < 1)].mean()) < 0.15
