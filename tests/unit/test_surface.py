# SPDX-License-Identifier: Apache-2.0
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.config import BustCut, Focus, SurfaceConfig
from backend.decimation import decimate, mend, split_fans
from backend.errors import ModelError, SettingsError
from backend.magnify import lattice_ticks
from backend.mesh import Mesh, directed_edges, is_closed, is_manifold, mesh_quality, signed_volume
from backend.surface import _reduced_surface, column_distance, extract_surface, rounded_intersection, smooth_taubin
from tests.analytic import DensityField, DistanceField, ball, capsule, hollow, mannequin, torus, union

COARSE = SurfaceConfig(resolution=65, faces=8000)
WHOLE = replace(COARSE, bust_cut=None, smoothing_steps=0)
SPACING = 0.42 / 64
RADIUS = 0.13
BALL_VOLUME = 4 / 3 * np.pi * RADIUS**3


def reach(mesh):
    return np.linalg.norm(mesh.vertices, axis=1)


def assert_solid(mesh, faces):
    quality = mesh_quality(mesh)
    assert quality["watertight"]
    assert quality["manifold"]
    assert quality["components"] == 1
    assert quality["degenerate"] == 0
    assert quality["faces"] <= faces
    assert signed_volume(mesh.vertices, mesh.faces) > 0


def test_a_signed_distance_is_meshed_within_a_hundredth_of_a_voxel():
    # Between two nodes a ball's distance is bent by at most spacing squared / (8 radius) = 0.006 voxels.
    mesh = extract_surface(DistanceField(ball(RADIUS)), replace(WHOLE, faces=10**6))
    assert np.abs(reach(mesh) - RADIUS).max() < 0.01 * SPACING


def test_a_density_is_meshed_within_a_quarter_of_a_voxel():
    mesh = extract_surface(DensityField(DistanceField(ball(RADIUS))), replace(WHOLE, faces=10**6))
    assert np.abs(reach(mesh) - RADIUS).max() < 0.25 * SPACING


@pytest.mark.parametrize("kind", [lambda field: field, DensityField])
def test_smoothing_and_decimation_keep_the_ball(kind):
    mesh = extract_surface(kind(DistanceField(ball(RADIUS))), replace(COARSE, bust_cut=None, faces=2000))
    assert_solid(mesh, 2000)
    assert len(mesh.faces) > 1980
    assert mesh_quality(mesh)["euler"] == 2
    np.testing.assert_allclose(reach(mesh), RADIUS, atol=0.4 * SPACING)
    assert signed_volume(mesh.vertices, mesh.faces) == pytest.approx(BALL_VOLUME, rel=0.01)


def test_normals_point_outwards():
    mesh = extract_surface(DistanceField(ball(RADIUS)), WHOLE)
    assert ((mesh.normals * mesh.vertices).sum(axis=1) / reach(mesh)).min() > 0.98


def test_axes_are_x_y_z():
    centre = np.array([0.03, -0.05, 0.08], dtype=np.float32)
    mesh = extract_surface(DistanceField(ball(0.05, tuple(centre.tolist()))), WHOLE)
    np.testing.assert_allclose((mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2, centre, atol=1e-3)


def test_canonical_positions_are_the_vertices():
    mesh = extract_surface(DistanceField(ball(RADIUS)), WHOLE)
    np.testing.assert_array_equal(mesh.canonical, mesh.vertices)


def test_a_ring_in_a_hollow_is_removed_with_the_hollow():
    shape = union(hollow(ball(0.15), ball(0.12)), torus(0.06, 0.03))
    mesh = extract_surface(DistanceField(shape), WHOLE)
    assert_solid(mesh, WHOLE.faces)
    np.testing.assert_allclose(reach(mesh), 0.15, atol=0.1 * SPACING)


def test_of_two_parts_the_larger_stays():
    shape = union(ball(0.06, (-0.1, 0.0, 0.0)), ball(0.07, (0.1, 0.0, 0.0)))
    mesh = extract_surface(DistanceField(shape), WHOLE)
    assert_solid(mesh, WHOLE.faces)
    assert mesh.vertices[:, 0].min() > 0


def test_a_torus_keeps_its_hole():
    mesh = extract_surface(DistanceField(torus(0.1, 0.04)), WHOLE)
    assert_solid(mesh, WHOLE.faces)
    assert mesh_quality(mesh)["euler"] == 0


def test_a_thin_sheet_that_no_coarse_corner_sees_is_followed_from_the_body():
    # The rod is 1.2 fine voxels thick, far below the four voxels of a block.
    rod = capsule(0.6 * SPACING, 0.0, 0.17)
    mesh = extract_surface(DistanceField(union(ball(0.08), rod)), WHOLE)
    assert mesh.vertices[:, 1].max() > 0.165


def test_shoulders_that_leave_the_cube_are_closed_inside_it():
    mesh = extract_surface(DistanceField(ball(0.3, (0.0, -0.25, 0.0))), WHOLE)
    assert_solid(mesh, WHOLE.faces)
    assert np.abs(mesh.vertices).max() <= 0.21 - 1.4 * SPACING


def test_the_bust_ends_on_the_cut_column():
    field = DistanceField(ball(1.0, (0.0, -1.0, 0.0)))
    cut = BustCut()
    mesh = extract_surface(field, SurfaceConfig(resolution=129, bust_cut=cut, smoothing_steps=0))
    assert_solid(mesh, 30_000)
    distance = column_distance(mesh.vertices, cut, field.side)
    assert distance.max() < 0.1 * SPACING
    below = mesh.vertices[:, 1] < -0.05
    assert np.abs(distance[below]).max() < 0.1 * SPACING


def test_a_mannequin_becomes_a_closed_bust_in_time():
    start = time.process_time()
    mesh = extract_surface(mannequin(), SurfaceConfig())
    seconds = time.process_time() - start
    assert_solid(mesh, 30_000)
    assert len(mesh.faces) > 29_900
    assert mesh_quality(mesh)["euler"] == 2
    assert seconds < 6


def test_the_same_field_gives_the_same_mesh():
    first, second = (extract_surface(mannequin(), COARSE) for _ in range(2))
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.faces, second.faces)


def test_blurring_leaves_a_block_that_fills_the_cube_closed():
    """As an untrained generator's foam does; without its walls the blur would open it."""
    values = np.full((33, 33, 33), -1.0, np.float32)
    for side in (0, -1):
        values[side], values[:, side], values[:, :, side] = 1.0, 1.0, 1.0
    ticks = lattice_ticks(1.0, 33, None)
    vertices, faces = _reduced_surface(values, 4.0, ticks, replace(COARSE, smoothing_steps=0))
    assert is_closed(faces)
    assert np.abs(vertices).max() < 0.5


def test_an_empty_field_says_so():
    with pytest.raises(ModelError, match="empty head"):
        extract_surface(DistanceField(ball(0.1, (5.0, 0.0, 0.0))), WHOLE)


def test_a_field_of_nan_says_so():
    with pytest.raises(ModelError, match="not finite"):
        extract_surface(DistanceField(lambda points: points[:, 0] * torch.nan), WHOLE)


@pytest.mark.parametrize("change", [{"resolution": 16}, {"resolution": 514}, {"faces": 99}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(SettingsError):
        extract_surface(DistanceField(ball(0.1)), replace(WHOLE, **change))


def test_rounding_only_takes_away_and_only_near_the_edge():
    first, second = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    rounded = rounded_intersection(first.ravel(), second.ravel(), 0.5)
    sharp = np.maximum(first, second).ravel()
    assert (rounded >= sharp).all()
    far = np.abs(first - second).ravel() >= 0.5
    np.testing.assert_array_equal(rounded[far], sharp[far])
    assert rounded.max() - sharp.max() <= 0.125


def test_the_column_is_open_upwards():
    inside = np.array([[0.0, 50.0, 0.0]], dtype=np.float32)
    assert column_distance(inside, BustCut(), 1.0)[0] < 0


def test_taubin_smoothing_takes_noise_and_leaves_the_volume():
    mesh = extract_surface(DistanceField(ball(RADIUS)), WHOLE)
    noise = np.random.default_rng(0).normal(scale=0.1 * SPACING, size=mesh.vertices.shape)
    noisy = mesh.vertices + noise
    smooth = smooth_taubin(noisy, mesh.faces, steps=10)
    assert np.linalg.norm(smooth, axis=1).std() < 0.5 * np.linalg.norm(noisy, axis=1).std()
    assert signed_volume(smooth, mesh.faces) == pytest.approx(BALL_VOLUME, rel=0.01)


def test_too_hard_a_reduction_is_an_error_and_no_broken_mesh():
    mesh = extract_surface(mannequin(), COARSE)
    with pytest.raises(ModelError, match="stay closed"):
        decimate(mesh.vertices, mesh.faces, target=3)


def test_two_tetrahedra_that_share_a_vertex_come_apart():
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    other = np.array([0, 4, 5, 6])[tetrahedron]
    faces = np.concatenate([tetrahedron, other])
    vertices = np.random.default_rng(0).normal(size=(7, 3))
    apart, apart_faces = split_fans(vertices, faces)
    assert len(apart) == 8
    assert is_closed(apart_faces)
    assert is_manifold(apart_faces)
    np.testing.assert_array_equal(apart[apart_faces], vertices[faces])


def assert_mended(vertices, faces, parts):
    mended, mended_faces = mend(vertices, faces)
    assert is_closed(mended_faces)
    assert is_manifold(mended_faces)
    assert len(mended_faces) <= len(faces)
    quality = mesh_quality(Mesh(mended.astype(np.float32), mended_faces))
    assert quality["watertight"]
    assert quality["manifold"]
    assert quality["components"] == parts
    return mended, mended_faces


def octahedron(centre):
    points = np.concatenate([np.eye(3), -np.eye(3)]) + centre
    top = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2]])
    return points, np.concatenate([top, np.where(top == 2, 5, top)[:, ::-1]])


def test_two_solids_that_touch_in_a_vertex_are_set_apart():
    first, faces = octahedron([0.0, 0, 0])
    second, _ = octahedron([2.0, 0, 0])
    number = np.array([6, 7, 8, 0, 10, 11])  # The second's -x is the first's +x.
    assert_mended(np.concatenate([first, second]), np.concatenate([faces, number[faces]]), parts=2)


def test_two_solids_that_touch_in_an_edge_are_set_apart():
    first, faces = octahedron([0.0, 0, 0])
    second, _ = octahedron([1.0, 1.0, 0.0])
    number = np.array([6, 7, 8, 1, 0, 11])  # The second's -x and -y are the first's +y and +x.
    assert_mended(np.concatenate([first, second]), np.concatenate([faces, number[faces]]), parts=2)


def test_a_fin_and_a_face_without_area_go():
    points, faces = octahedron([0.0, 0, 0])
    fin = [[0, 1, 6], [1, 0, 6], [0, 0, 1]]
    mended, mended_faces = assert_mended(
        np.concatenate([points, [[2.0, 2, 0]]]), np.concatenate([faces, fin]).astype(np.int32), parts=1
    )
    np.testing.assert_array_equal(np.unique(mended, axis=0), np.unique(points, axis=0))
    assert len(mended_faces) == len(faces)


NOSE = (0.0, 0.0, RADIUS)
FOCUSED_SPACING = 0.42 / 96
FOCUSED = SurfaceConfig(
    resolution=97,
    faces=3000,
    bust_cut=None,
    smoothing_steps=2,
    lattice_focus=Focus(NOSE, reach=0.03, gain=3.0),
    details=(Focus(NOSE, reach=0.02, gain=6.0),),
)


def edge_lengths(mesh, centre, reach):
    start, end = directed_edges(mesh.faces)
    middle = (mesh.vertices[start] + mesh.vertices[end]) / 2
    length = np.linalg.norm(mesh.vertices[start] - mesh.vertices[end], axis=1)
    return length[np.linalg.norm(middle - np.array(centre), axis=1) < reach]


def test_a_focus_gets_smaller_triangles_and_the_surface_stays_where_it_is():
    field = DistanceField(union(ball(RADIUS), ball(0.02, NOSE)))
    even = extract_surface(field, replace(FOCUSED, lattice_focus=None, details=()))
    focused = extract_surface(field, FOCUSED)
    for mesh in (even, focused):
        assert_solid(mesh, 3000)
        assert mesh_quality(mesh)["euler"] == 2
    assert np.median(edge_lengths(focused, NOSE, 0.03)) < 0.6 * np.median(edge_lengths(even, NOSE, 0.03))
    distance = [np.abs(field.signed_distance(torch.from_numpy(mesh.vertices)).numpy()) for mesh in (even, focused)]
    near = [np.linalg.norm(mesh.vertices - np.array(NOSE), axis=1) < 0.03 for mesh in (even, focused)]
    assert distance[1][near[1]].mean() < 0.6 * distance[0][near[0]].mean()
    assert distance[1].max() < 0.5 * FOCUSED_SPACING
    assert np.abs(reach(focused)[~near[1]] - RADIUS).max() < 0.5 * FOCUSED_SPACING


@pytest.mark.parametrize("faces", [1000, 6000])
def test_the_face_limit_holds_with_details(faces):
    mesh = extract_surface(mannequin(), replace(FOCUSED, faces=faces))
    assert_solid(mesh, faces)
    assert len(mesh.faces) > 0.95 * faces
