# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from backend.blend import Layer
from backend.config import TextureConfig
from backend.mesh import Mesh
from backend.reprojection import PhotoView
from backend.texels import rasterize_uv
from backend.texture import _clearest, bake_texture
from tests.painted_head import (
    TINT,
    PaintedField,
    camera_at,
    generator_paint,
    painted_head,
    painted_texture,
    photo_of,
    true_paint,
)

SIZE = 512
CONFIG = TextureConfig(size_px=SIZE, field_px=SIZE)


@cache
def scene(yaw_deg: float):
    """The mesh, a photo of it, its bake, and for each texel its index, position and cosine to the camera."""
    mesh = painted_head()
    photo = photo_of(mesh, painted_texture(mesh, true_paint, 1024), yaw_deg)
    texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=[photo], config=CONFIG)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    points, normals = texels.interpolate(mesh.canonical), texels.interpolate(mesh.normals)
    to_camera = camera_at(yaw_deg).position - points
    cosine = np.einsum("na,na->n", to_camera, normals)
    cosine /= np.linalg.norm(to_camera, axis=1) * np.linalg.norm(normals, axis=1)
    return mesh, photo, texture.reshape(-1, 3)[texels.index] / 255.0, points.astype(np.float64), cosine


def test_without_photos_the_texture_is_the_generators():
    mesh = painted_head()
    texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=[], config=CONFIG)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    painted = generator_paint(texels.interpolate(mesh.canonical).astype(np.float64))
    assert texture.shape == (SIZE, SIZE, 3)
    assert np.abs(texture.reshape(-1, 3)[texels.index] / 255.0 - painted).max() < 0.003


def test_a_smaller_field_texture_is_enlarged():
    mesh = painted_head()
    config = replace(CONFIG, field_px=SIZE // 2)
    texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=[], config=config)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    error = np.abs(texture.astype(int) - painted_texture(mesh, generator_paint, SIZE)).reshape(-1, 3)[texels.index]
    assert error.mean() < 1
    assert np.quantile(error, 0.99) < 15


@pytest.mark.parametrize("yaw_deg", [0, 45])
def test_where_the_photo_sees_the_surface_its_colours_are_used(yaw_deg):
    _, _, baked, points, cosine = scene(yaw_deg)
    seen = cosine > 0.6
    error = np.abs(baked[seen] - true_paint(points[seen]))
    assert error.mean() < 0.012
    assert np.quantile(error, 0.99) < 0.06


def test_unseen_skin_and_hair_take_the_photos_tint():
    _, _, baked, points, cosine = scene(0)
    hidden = cosine < -0.1
    before = np.abs(generator_paint(points[hidden]) * TINT - generator_paint(points[hidden])).mean()
    after = np.abs(baked[hidden] - generator_paint(points[hidden]) * TINT).mean()
    assert after < 0.3 * before


def test_no_step_shows_where_the_photo_ends():
    """Smoothed colour changes across the border of sight by no more than the true colour does, plus a little."""
    _, _, baked, points, cosine = scene(0)
    is_cheek = (np.abs(points[:, 1] + 0.3) < 0.25) & (points[:, 0] > 0)
    means = []
    for values in (baked, true_paint(points)):
        bands = np.arange(-0.4, 0.9, 0.05)
        chosen = [is_cheek & (cosine > low) & (cosine <= low + 0.05) for low in bands]
        means.append(np.stack([values[band].mean(axis=0) for band in chosen]))
    steps = [np.abs(np.diff(mean, axis=0)) for mean in means]
    assert steps[0].max() < steps[1].max() + 0.02


def test_what_one_side_shows_appears_on_the_other():
    """From 45 degrees the far cheek is hidden; its freckles come from the near one."""
    _, _, baked, points, cosine = scene(45)
    far = (cosine < -0.05) & (points[:, 2] > 0.35) & (points[:, 0] < -0.2)
    detail = true_paint(points[far]) - generator_paint(points[far]) * TINT
    found = baked[far] - generator_paint(points[far]) * TINT
    assert np.corrcoef(detail.ravel(), found.ravel())[0, 1] > 0.8
    assert far.sum() > 1000


def test_the_mirror_is_not_used_where_the_halves_disagree():
    mesh = painted_head()

    def one_red_side(points):
        colors = true_paint(points)
        colors[points[:, 0] > 0.12] = (0.8, 0.1, 0.1)
        return colors

    photo = photo_of(mesh, painted_texture(mesh, one_red_side, 1024), 20)
    texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=[photo], config=CONFIG)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    points = texels.interpolate(mesh.canonical)
    far = (points[:, 0] < -0.65) & (np.abs(points[:, 1]) < 0.2) & (points[:, 2] > 0.1)
    red = texture.reshape(-1, 3)[texels.index[far]] / 255.0 @ (1, -1, 0)
    assert far.sum() > 500
    assert np.median(red) < 0.33  # The skin has 0.24, the red side 0.7.


@pytest.mark.parametrize("yaw_deg", [0, 45])
def test_no_background_reaches_the_texture(yaw_deg):
    mesh, photo, _, _, _ = scene(yaw_deg)
    texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=[photo], config=CONFIG).astype(int)
    assert (np.minimum(texture[..., 0], texture[..., 2]) - texture[..., 1]).max() < 30


def test_a_badly_fitting_silhouette_brings_in_no_background():
    """The mesh is 3 % larger than what was photographed; the matte tells."""
    mesh, photo, _, _, _ = scene(0)
    texture = bake_texture(mesh, mesh.vertices * 1.03, PaintedField(), photos=[photo], config=CONFIG).astype(int)
    assert (np.minimum(texture[..., 0], texture[..., 2]) - texture[..., 1]).max() < 30


def with_board() -> tuple[Mesh, np.ndarray]:
    """The head and a board in front of its left half; the board's uv lies in the texture's corner."""
    mesh = painted_head()
    board = np.array([[0.15, -0.5, 1.3], [0.55, -0.5, 1.3], [0.55, 0.5, 1.3], [0.15, 0.5, 1.3]], np.float32)
    uv = np.array([[0.001, 0.02], [0.02, 0.02], [0.02, 0.001], [0.001, 0.001]], np.float32)
    count = len(mesh.vertices)
    faces = np.concatenate([mesh.faces, np.array([[0, 1, 2], [0, 2, 3]]) + count])
    vertices = np.concatenate([mesh.vertices, board])
    normals = np.concatenate([mesh.normals, np.tile(np.float32([0, 0, 1]), (4, 1))])
    both = Mesh(vertices, faces, normals, np.concatenate([mesh.uv, uv]), vertices)
    return both, np.arange(len(faces)) < len(mesh.faces)


def test_what_stands_in_front_does_not_colour_what_is_behind():
    mesh, is_head = with_board()

    def paint(points):
        colors = true_paint(points)
        colors[points[:, 2] > 1.2] = (0, 1, 0)
        return colors

    photo = photo_of(mesh, painted_texture(mesh, paint, 1024), 0)
    field = PaintedField(lambda points: np.where(points[:, 2:] > 1.2, [0.0, 1.0, 0.0], generator_paint(points)))
    texture = bake_texture(mesh, mesh.vertices, field, photos=[photo], config=CONFIG).reshape(-1, 3).astype(int)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    head = texture[texels.index[is_head[texels.triangle]]]
    assert (head[:, 1] - head[:, 0]).max() < 10


def test_a_photo_of_another_pose_is_read_where_the_surface_was():
    mesh, _, upright, _, _ = scene(0)
    turn = np.radians(25)
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    turned = replace(mesh, vertices=(mesh.vertices @ rotation.T).astype(np.float32), normals=None)
    photo = photo_of(turned, painted_texture(mesh, true_paint, 1024), 25)
    texture = bake_texture(mesh, turned.vertices, PaintedField(), photos=[photo], config=CONFIG)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    baked = texture.reshape(-1, 3)[texels.index] / 255.0
    assert np.abs(baked - upright).mean() < 0.01


def test_a_cropped_rotated_large_photo_gives_the_same_texture():
    mesh, photo, upright, _, _ = scene(0)
    grown = np.kron(np.rot90(photo.pixels), np.ones((3, 3, 1), np.uint8))
    framed = np.pad(grown, ((40, 10), (70, 20), (0, 0)))
    # A photo pixel (x, y) of the turned, enlarged, framed picture shows the upright picture's (512 - v, u).
    unframe = np.array([[1 / 3, 0, -70 / 3], [0, 1 / 3, -40 / 3], [0, 0, 1]])
    unturn = np.array([[0.0, -1.0, 512.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = PhotoView(framed, photo.photo_to_portrait @ unturn @ unframe, 256, photo.camera, photo.mask)
    texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=[moved], config=CONFIG)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    assert np.abs(texture.reshape(-1, 3)[texels.index] / 255.0 - upright).mean() < 0.01


def test_a_second_photo_shows_what_the_first_does_not():
    mesh, photo, _, points, cosine = scene(0)
    back = photo_of(mesh, painted_texture(mesh, true_paint, 1024), 180)
    texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=[photo, back], config=CONFIG)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    behind = cosine < -0.65
    error = np.abs(texture.reshape(-1, 3)[texels.index] / 255.0 - true_paint(points))[behind]
    assert error.mean() < 0.04


def test_a_second_photo_in_another_pose_is_read_where_the_surface_was_there():
    """Moved and seen from the left it shows the same paint; read in the main photo's pose it would be displaced."""
    mesh, photo, _, points, cosine = scene(0)
    shifted = replace(mesh, vertices=mesh.vertices + np.float32([0, 0.03, 0]), normals=None)
    left = photo_of(shifted, painted_texture(mesh, true_paint, 1024), 70)
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    side = (cosine < 0.1) & (points[:, 0] > 0.6 * points[:, 0].max())
    errors = []
    for vertices in (None, shifted.vertices):
        photos = [photo, replace(left, vertices=vertices)]
        texture = bake_texture(mesh, mesh.vertices, PaintedField(), photos=photos, config=CONFIG)
        errors.append(np.abs(texture.reshape(-1, 3)[texels.index] / 255.0 - true_paint(points))[side].mean())
    assert errors[1] < 0.02 and errors[1] < 0.5 * errors[0]


def test_of_two_photos_each_serves_where_it_sees_the_surface_squarely():
    looks = [Layer(np.zeros((3, 3), np.float32), np.ones(3, np.float32)) for _ in range(2)]
    clear = [np.float32([1.0, 0.5, 0.2]), np.float32([0.2, 0.6, 1.0])]
    first, second = (look.trust for look in _clearest(looks, clear))
    np.testing.assert_allclose(first, [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(second[[0, 2]], [0, 1], atol=1e-6)
    assert 0.5 < second[1] <= 1
    assert _clearest(looks[:1], clear[:1]) == looks[:1]


def test_the_generator_s_own_pictures_win_over_its_field():
    """A field of plain grey and pictures of the true paint from all sides; a photo then lies on top of them."""
    mesh = painted_head()
    truth = painted_texture(mesh, true_paint, 1024)
    views = [photo_of(mesh, truth, yaw_deg) for yaw_deg in (0, 90, -90, 180)]
    grey = PaintedField(lambda points: np.full((len(points), 3), 0.5))
    texels = rasterize_uv(mesh.uv, mesh.faces, SIZE)
    points = texels.interpolate(mesh.canonical).astype(np.float64)
    seen = np.abs(points[:, 1]) < 0.7
    texture = bake_texture(mesh, mesh.vertices, grey, photos=[], config=CONFIG, views=views)
    baked = texture.reshape(-1, 3)[texels.index] / 255.0
    assert np.abs(baked - true_paint(points))[seen].mean() < 0.03
    red = photo_of(mesh, np.full((64, 64, 3), (200, 30, 30), np.uint8), 0)
    texture = bake_texture(mesh, mesh.vertices, grey, photos=[red], config=CONFIG, views=views)
    front = points[:, 2] > 0.75
    assert np.abs(texture.reshape(-1, 3)[texels.index][front] - (200, 30, 30)).mean() < 6


def test_a_mesh_without_uv_has_no_texture():
    mesh = replace(painted_head(), uv=None)
    with pytest.raises(ValueError, match="uv"):
        bake_texture(mesh, mesh.vertices, PaintedField(), photos=[], config=CONFIG)
