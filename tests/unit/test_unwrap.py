# SPDX-License-Identifier: Apache-2.0
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from backend.config import SurfaceConfig
from backend.cylinder import face_parts
from backend.mesh import mesh_quality
from backend.surface import extract_surface
from backend.texels import rasterize_uv
from backend.unwrap import unwrap_uv
from tests.analytic import DistanceField, ball, mannequin, torus

SIZE_PX = 1024


def bumpy():
    """A ball with deep, narrow furrows: folds everywhere."""
    shape = ball(0.12)
    return DistanceField(lambda points: shape(points) + 0.02 * torch.sin(90 * points).prod(dim=1))


def extracted(field, faces=8000):
    return extract_surface(field, SurfaceConfig(resolution=97, faces=faces))


@pytest.fixture(scope="module")
def bust():
    return extracted(mannequin(), faces=30_000)


@pytest.fixture(scope="module")
def unwrapped(bust):
    return unwrap_uv(bust)


def signed_uv_area(mesh):
    corners = mesh.uv[mesh.faces].astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return (first[:, 1] * second[:, 0] - first[:, 0] * second[:, 1]) / 2


@pytest.mark.parametrize("field", [mannequin(), DistanceField(ball(0.13)), DistanceField(torus(0.1, 0.04)), bumpy()])
def test_no_texel_belongs_to_two_faces_and_no_face_is_mirrored(field):
    mesh = unwrap_uv(extracted(field))
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    texels = rasterize_uv(mesh.uv, mesh.faces, 2 * SIZE_PX)
    assert len(np.unique(texels.index)) == len(texels.index)
    assert (signed_uv_area(mesh) >= 0).all()


def test_the_surface_is_the_same_with_vertices_split_at_seams(bust, unwrapped):
    np.testing.assert_array_equal(unwrapped.vertices[unwrapped.faces], bust.vertices[bust.faces])
    np.testing.assert_array_equal(unwrapped.canonical[unwrapped.faces], bust.canonical[bust.faces])
    np.testing.assert_array_equal(unwrapped.normals[unwrapped.faces], bust.normals[bust.faces])
    assert mesh_quality(unwrapped) == mesh_quality(bust)
    assert len(bust.vertices) < len(unwrapped.vertices) < 1.15 * len(bust.vertices)


def test_the_layout_follows_the_canonical_positions(bust, unwrapped):
    posed = replace(bust, vertices=bust.vertices[:, [1, 2, 0]] + 1)
    np.testing.assert_array_equal(unwrap_uv(posed).uv, unwrapped.uv)


def test_it_works_without_canonical_positions_and_normals(bust, unwrapped):
    bare = unwrap_uv(replace(bust, canonical=None, normals=None))
    np.testing.assert_array_equal(bare.uv, unwrapped.uv)
    assert bare.canonical is None
    assert bare.normals is None


def test_the_same_mesh_gives_the_same_layout(bust, unwrapped):
    again = unwrap_uv(bust)
    np.testing.assert_array_equal(again.uv, unwrapped.uv)
    np.testing.assert_array_equal(again.faces, unwrapped.faces)


def test_most_of_the_square_is_used(unwrapped):
    texels = rasterize_uv(unwrapped.uv, unwrapped.faces, SIZE_PX)
    assert len(texels.index) / SIZE_PX**2 > 0.7


def test_charts_keep_four_texels_apart_at_1k(unwrapped):
    chart = face_parts(unwrapped.faces)
    texels = rasterize_uv(unwrapped.uv, unwrapped.faces, SIZE_PX)
    owner = np.full(SIZE_PX**2, -1)
    owner[texels.index] = chart[texels.triangle]
    owner = owner.reshape(SIZE_PX, SIZE_PX)
    for number in np.argsort(-np.bincount(chart))[:12]:
        distance = distance_transform_edt(owner != number)
        others = (owner >= 0) & (owner != number)
        # Parts of a broken-up chart can meet at a vertex; charts of their own cannot.
        assert (distance[others] < 4).sum() == 0


def test_the_face_has_twice_the_texels_of_the_back(bust, unwrapped):
    points = unwrapped.canonical[unwrapped.faces].astype(np.float64)
    normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]) / 2
    density = signed_uv_area(unwrapped) / np.linalg.norm(normal, axis=1)
    centre = points.mean(axis=1)
    level = np.abs(centre[:, 1]) < 0.05
    facing, behind = level & (normal[:, 2] > 0) & (centre[:, 2] > 0.05), level & (centre[:, 2] < -0.05)
    assert np.median(density[facing]) > 1.6 * np.median(density[behind])


def test_the_face_stands_upright_and_unmirrored_in_the_upper_middle(unwrapped):
    points = unwrapped.canonical
    front = (points[:, 2] > 0.07) & (np.abs(points[:, 1]) < 0.06) & (unwrapped.uv[:, 1] < 0.8)
    u, v = unwrapped.uv[front].T
    assert 0.25 < u.min() < u.max() < 0.75
    assert np.corrcoef(points[front, 0], u)[0, 1] > 0.95
    assert np.corrcoef(points[front, 1], v)[0, 1] < -0.95


def test_thirty_thousand_faces_take_seconds(bust):
    start = time.process_time()
    unwrap_uv(bust)
    assert time.process_time() - start < 3
