# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.mesh import Mesh, vertex_normals
from backend.raycast import Caster
from backend.reprojection import Reprojection
from tests.painted_head import painted_head, painted_texture, photo_of, true_paint


@pytest.fixture(scope="module")
def scene():
    mesh = painted_head()
    return mesh, photo_of(mesh, painted_texture(mesh, true_paint, 1024), 0)


def reproject(mesh, photo, texel_area: float = 1e-5) -> Reprojection:
    """Texels of the given area in world units."""
    corners = mesh.vertices[mesh.faces].astype(float)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    return Reprojection(photo, mesh.vertices, mesh.faces, area / texel_area)


def test_seen_points_have_the_photos_colours_and_hidden_ones_no_trust(scene):
    mesh, photo = scene
    colors, trust = reproject(mesh, photo).sample(mesh.vertices, mesh.normals)
    front = mesh.normals[:, 2] > 0.75
    assert np.abs(colors[front] - true_paint(mesh.canonical[front].astype(float))).mean() < 0.02
    assert trust[front].min() > 0.9
    assert trust[mesh.normals[:, 2] < 0].max() == 0
    assert trust.min() >= 0 and trust.max() <= 1


def test_trust_follows_the_matte(scene):
    mesh, photo = scene
    matte = photo.mask.copy()
    matte[:, :128] = 0
    _, trust = reproject(mesh, replace(photo, mask=matte)).sample(mesh.vertices, mesh.normals)
    assert trust[mesh.vertices[:, 0] < 0.01].max() == 0
    assert trust[(mesh.vertices[:, 0] > 0.15) & (mesh.normals[:, 2] > 0.75)].min() > 0.9


def test_nothing_is_known_beyond_the_photos_frame(scene):
    """The photo's upper half is cut away; the crop reaches beyond it."""
    mesh, photo = scene
    shift = np.eye(3)
    shift[1, 2] = 256
    lower = replace(photo, pixels=photo.pixels[256:], photo_to_portrait=photo.photo_to_portrait @ shift)
    colors, trust = reproject(mesh, lower).sample(mesh.vertices, mesh.normals)
    assert trust[mesh.vertices[:, 1] > 0].max() == 0
    below = (mesh.vertices[:, 1] < -0.15) & (mesh.normals[:, 2] > 0.8)
    assert trust[below].min() > 0.9
    assert np.abs(colors[below] - true_paint(mesh.canonical[below].astype(float))).mean() < 0.02


def test_fine_and_coarse_texels_read_the_same_mean_colours(scene):
    mesh, photo = scene
    front = mesh.normals[:, 2] > 0.8
    fine, _ = reproject(mesh, photo, 2e-6).sample(mesh.vertices[front], mesh.normals[front])
    coarse, _ = reproject(mesh, photo, 2e-3).sample(mesh.vertices[front], mesh.normals[front])
    assert reproject(mesh, photo, 2e-3).picture.shape[0] < 256 < reproject(mesh, photo, 2e-6).picture.shape[0]
    assert np.abs(fine.mean(axis=0) - coarse.mean(axis=0)).max() < 0.01


def with_plate_before(mesh: Mesh, hole: float) -> Mesh:
    """The head behind a plate 4 wide with a square hole around the axis."""
    outer, inner = 2.0, hole / 2
    ring = [(-outer, -outer), (outer, -outer), (outer, outer), (-outer, outer)]
    ring += [(-inner, -inner), (inner, -inner), (inner, inner), (-inner, inner)]
    vertices = np.array([(x, y, 1.4) for x, y in ring])
    faces = np.array([(0, 1, 5), (0, 5, 4), (1, 2, 6), (1, 6, 5), (2, 3, 7), (2, 7, 6), (3, 0, 4), (3, 4, 7)])
    return Mesh(
        np.concatenate([mesh.vertices, vertices]).astype(np.float32),
        np.concatenate([mesh.faces, faces + len(mesh.vertices)]),
    )


@pytest.mark.parametrize(("hole", "is_feature"), [(0.08, True), (1.0, False)])
def test_small_openings_are_seen_to_their_rim_and_large_ones_are_not(scene, hole, is_feature):
    """A mouth's opening shows the mouth; beside what stands in front lies a margin."""
    mesh, photo = scene
    covered = with_plate_before(mesh, hole)
    matte = replace(photo, mask=np.ones_like(photo.mask))
    reprojection = Reprojection(matte, covered.vertices, covered.faces, np.ones(len(covered.faces)))
    edge = 2.2 * hole / 2 / (6 - 1.4)  # Image widths from the middle; 0.008 inside it the head is seen.
    direction = np.array([[(edge - 0.008) / 2.2, 0.0, -1.0]])
    _, _, distance = Caster(mesh.vertices, mesh.faces).first_hit(photo.camera.position[None], direction)
    point = photo.camera.position + distance[:, None] * direction / np.linalg.norm(direction)
    _, trust = reprojection.sample(point.astype(np.float32), np.array([[0.0, 0.0, 1.0]], dtype=np.float32))
    assert (trust[0] > 0.9) == is_feature


def test_what_is_behind_something_is_not_trusted(scene):
    mesh, photo = scene
    covered = with_plate_before(mesh, 0.3)
    reprojection = Reprojection(photo, covered.vertices, covered.faces, np.ones(len(covered.faces)))
    normals = vertex_normals(covered.vertices, covered.faces)
    _, trust = reprojection.sample(covered.vertices, normals)
    aside = np.abs(mesh.vertices[:, :2]).max(axis=1) > 0.2
    assert trust[: len(mesh.vertices)][aside].max() == 0


@pytest.mark.parametrize(("step", "is_seen"), [(0.06, True), (0.5, False)])
def test_a_nose_over_a_lip_is_trusted_to_its_edge_and_a_head_over_a_shoulder_is_not(scene, step, is_seen):
    """Two sheets side by side, the right one nearer to the camera."""
    left = [(-1, -1, 0), (0, -1, 0), (0, 1, 0), (-1, 1, 0)]
    right = [(0, -1, step), (1, -1, step), (1, 1, step), (0, 1, step)]
    faces = np.array([(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)])
    photo = replace(scene[1], mask=np.ones_like(scene[1].mask))
    reprojection = Reprojection(photo, np.array(left + right, np.float32), faces, np.ones(len(faces)))
    beside = np.array([[0.02, 0.0, step]], np.float32)
    _, trust = reprojection.sample(beside, np.array([[0.0, 0.0, 1.0]], np.float32))
    assert (trust[0] > 0.9) == is_seen
