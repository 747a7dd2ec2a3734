# SPDX-License-Identifier: Apache-2.0
import igl
import numpy as np
import pytest
import trimesh

from backend.mesh import is_closed, is_manifold, signed_volume
from backend.template import closest_barycentric
from backend.training import template as module
from backend.training.expressions import ARKIT_NAMES, arkit_expressions
from backend.training.heads import HeadShapes
from backend.training.makehuman import BASE_VERTICES, pose_head
from backend.training.solid import LIPS_PARTED
from backend.training.template import (
    anchor,
    canonical_base,
    canonical_skeleton,
    expression_basis,
    joint_shares,
    opposite,
    shape_basis,
    split_edges,
    template_mesh,
    without_landmarks,
)
from tests.mean_body import ICT, closed_base, makehuman, mean_solid, needs_assets, parted_base


def test_the_nearest_point_on_a_triangle_is_igls():
    random = np.random.default_rng(0)
    corners, points = random.normal(size=(300, 3, 3)), 2 * random.normal(size=(300, 3))
    places = (closest_barycentric(points, corners)[..., None] * corners).sum(1)
    for point, triangle, place in zip(points, corners, places, strict=True):
        truth = igl.point_mesh_squared_distance(point[None], triangle, np.array([[0, 1, 2]]))[2]
        np.testing.assert_allclose(place, truth.reshape(3), atol=1e-9)


def test_a_known_linear_family_gives_its_components_back():
    """Heads that differ by two orthogonal symmetric modes of known spread."""
    random = np.random.default_rng(0)
    half = random.normal(size=(50, 3))
    vertices = np.concatenate([half, half * [-1, 1, 1]])
    mirror = np.concatenate([np.arange(50, 100), np.arange(50)])
    modes = random.normal(size=(2, 50, 3))
    modes[1] -= (modes[0] * modes[1]).sum() / (modes[0] ** 2).sum() * modes[0]
    modes = np.concatenate([modes, modes * [-1, 1, 1]], axis=1)
    modes *= np.array([3.0, 1.0])[:, None, None] / np.linalg.norm(modes, axis=(1, 2), keepdims=True)
    codes = random.normal(size=(400, 2))
    codes -= codes.mean(0)
    codes = codes @ np.linalg.inv(np.linalg.cholesky(codes.T @ codes / 400)).T
    mean, basis = shape_basis(vertices + np.tensordot(codes, modes, 1), mirror, 2)
    np.testing.assert_allclose(mean, vertices, atol=1e-9)
    for found, truth in zip(basis, modes, strict=True):
        np.testing.assert_allclose(found * np.sign((found * truth).sum()), truth, atol=1e-6)


def test_asymmetric_heads_still_have_a_symmetric_mean():
    random = np.random.default_rng(1)
    mirror = np.concatenate([np.arange(20, 40), np.arange(20)])
    mean, basis = shape_basis(random.normal(size=(30, 40, 3)), mirror, 3)
    np.testing.assert_allclose(mean[mirror] * [-1, 1, 1], mean, atol=1e-12)
    for one in basis:
        flipped = one[mirror] * [-1, 1, 1]
        assert np.allclose(flipped, one, atol=1e-6) or np.allclose(flipped, -one, atol=1e-6)


@pytest.fixture(scope="module")
def mesh():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MESH_SPACING_M", 0.006)
        patch.setattr(module, "HALF_FACES", 2500)
        return template_mesh(mean_solid())


@pytest.fixture(scope="module")
def anchors(mesh):
    return anchor(mean_solid(), mesh[0])


@needs_assets
def test_the_template_is_a_closed_mesh_of_about_the_asked_size(mesh):
    vertices, faces, _ = mesh
    assert is_manifold(faces)
    assert 3000 < len(faces) < 5500
    interior = (np.abs(vertices[faces]) < 0.2).all((1, 2))
    assert signed_volume(vertices, faces[interior]) > 0
    assert is_closed(faces) or (np.abs(vertices[_boundary(faces)]).max(1) > 0.2).all()


def _boundary(faces):
    edges = np.sort(np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])


@needs_assets
def test_the_template_is_symmetric_vertex_by_vertex_and_face_by_face(mesh):
    vertices, faces, mirror = mesh
    np.testing.assert_allclose(vertices[mirror], vertices * [-1, 1, 1], atol=1e-12)
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(vertices)))
    flipped = {tuple(sorted(face)) for face in mirror[faces]}
    assert flipped == {tuple(sorted(face)) for face in faces}


@needs_assets
def test_the_template_is_finer_on_the_face(mesh):
    vertices, faces, _ = mesh
    corners = vertices[faces]
    edge = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    near = np.linalg.norm(corners.mean(1) - module.FACE_CENTRE_M, axis=1) < 0.05
    assert np.median(edge[near]) < 0.7 * np.median(edge[~near])


@needs_assets
def test_the_template_lies_on_the_body(mesh):
    vertices = mesh[0]
    inner = vertices[(np.abs(vertices) < 0.19).all(1)]
    distance = np.abs(mean_solid().distance(inner))
    assert np.median(distance) < 0.0005 and np.percentile(distance, 95) < 0.003


@needs_assets
def test_anchors_read_the_mean_head_back(mesh, anchors):
    """On the mesh they were tied to, they stand where the template does, except in sockets and throat."""
    np.testing.assert_allclose(anchors.weights.sum(1), 1, atol=1e-9)
    gap = np.linalg.norm(anchors.read(makehuman(), parted_base()) - mesh[0], axis=1)
    front = (np.abs(mesh[0]) < 0.19).all(1)
    assert np.median(gap[front]) < 0.001 and np.percentile(gap[front], 95) < 0.004


@needs_assets
def test_a_head_that_shifts_takes_its_template_along(anchors):
    before = anchors.read(makehuman(), parted_base())
    after = anchors.read(makehuman(), parted_base() + np.array([0.1, -0.2, 0.3]))
    np.testing.assert_allclose(after - before, np.tile([0.01, -0.02, 0.03], (len(before), 1)), atol=1e-6)


@pytest.fixture(scope="module")
def expressions(mesh, anchors):
    found = arkit_expressions(makehuman(), ICT)
    return expression_basis(makehuman(), found, anchors, base_dm=closed_base(), mirror=mesh[2])


@needs_assets
def test_expressions_move_their_side_and_part_of_the_face(mesh, expressions):
    names, offsets = expressions
    vertices = mesh[0]
    assert set(names) == set(ARKIT_NAMES) - {"tongueOut"} and len(names) == len(offsets) == 51
    by_name = dict(zip(names, offsets, strict=True))
    for name, offset in by_name.items():
        length = np.linalg.norm(offset, axis=1)
        assert 0.0005 < length.max() < 0.05, name
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            assert (length * vertices[:, 0]).sum() > 0, name
    chin = np.argmin(np.linalg.norm(vertices - [0.0, -0.085, 0.09], axis=1))
    assert by_name["jawOpen"][chin, 1] < -0.003
    assert np.linalg.norm(by_name["jawOpen"][vertices[:, 1] > 0.05], axis=1).max() < 0.002


@needs_assets
def test_expressions_are_mirror_images_to_the_last_bit(mesh, expressions):
    by_name = dict(zip(*expressions, strict=True))
    for name, offset in by_name.items():
        np.testing.assert_array_equal(offset[mesh[2]] * [-1, 1, 1], by_name[opposite(name)])


def test_left_and_right_names_are_each_others_opposite():
    assert opposite("mouthLeft") == "mouthRight" and opposite("mouthRight") == "mouthLeft"
    assert opposite("jawOpen") == "jawOpen"


@needs_assets
def test_the_eyeball_gives_way_under_the_closing_lid_alone(anchors, expressions):
    by_name = dict(zip(*expressions, strict=True))
    on_eye = (anchors.triangles >= BASE_VERTICES).all(1)
    left = anchors.read(makehuman(), closed_base())[:, 0] > 0
    blink = by_name["eyeBlinkLeft"]
    assert on_eye.any()
    np.testing.assert_allclose(np.median(blink[on_eye & left], axis=0), [0, 0, -0.0016], atol=2e-4)
    np.testing.assert_allclose(by_name["eyeWideLeft"][on_eye & ~left], 0, atol=1e-9)


def test_splitting_edges_keeps_a_mesh_closed_and_its_surface_the_same():
    sphere = trimesh.creation.icosphere(subdivisions=2)
    vertices, faces = np.asarray(sphere.vertices), np.asarray(sphere.faces)
    inside = vertices[:, 2] > 0.3
    finer, finer_faces, added = split_edges(vertices, faces, inside)
    assert is_closed(finer_faces) and is_manifold(finer_faces)
    assert signed_volume(finer, finer_faces) == pytest.approx(signed_volume(vertices, faces))
    np.testing.assert_array_equal(finer[: len(vertices)], vertices)
    edges = np.sort(sphere.edges_unique, axis=1)
    middles = vertices[edges[inside[edges].all(1)]].mean(1)
    assert len(added) == len(middles) > 20
    order, truth = np.lexsort(finer[added].T), np.lexsort(middles.T)
    np.testing.assert_allclose(finer[added][order], middles[truth], atol=1e-12)


@needs_assets
def test_the_canonical_head_is_symmetric_with_parted_lips():
    heads = HeadShapes.__new__(HeadShapes)
    heads.makehuman = makehuman()
    lopsided = closed_base() + np.where(closed_base()[:, :1] > 0, 0.02, 0.0)
    closed, parted = canonical_base(heads, [lopsided, closed_base()])
    from scipy.spatial import cKDTree

    _, mirror = cKDTree(makehuman().base.vertices).query(makehuman().base.vertices * [-1, 1, 1])
    twins = mirror[mirror] == np.arange(len(mirror))
    np.testing.assert_allclose((closed[mirror] * [-1, 1, 1])[twins], closed[twins], atol=1e-9)
    opened = makehuman().target("expression/units/caucasian/mouth-open")
    np.testing.assert_allclose(parted - closed, LIPS_PARTED * opened, atol=1e-12)


@needs_assets
def test_a_template_without_landmarks_starts_at_its_mesh(mesh, anchors, expressions):
    mean, shape = shape_basis(anchors.read(makehuman(), closed_base())[None], mesh[2], 1)
    neck = canonical_skeleton(closed_base()), joint_shares(makehuman(), anchors, mesh[2])
    template = without_landmarks(mesh, (mean, shape), expressions, neck, on_eye=anchors.on_eye)
    np.testing.assert_allclose(template.vertices + template.neutral, mean, atol=1e-12)
    assert len(template.landmark_faces) == 0
    lips = np.abs(template.neutral).max()
    assert 0.001 < lips < 0.02  # Closing the parted lips, and what the sockets lack.


@needs_assets
def test_the_face_goes_with_the_head_and_the_shoulders_stay(mesh, anchors):
    vertices, _, mirror = mesh
    shares = joint_shares(makehuman(), anchors, mirror)
    np.testing.assert_array_equal(shares[mirror], shares)
    assert shares.min() >= 0 and shares.sum(1).max() <= 1 + 1e-9
    face = (vertices[:, 1] > -0.02) & (vertices[:, 2] > 0.05)
    shoulder = (vertices[:, 1] < -0.17) & (np.abs(vertices[:, 0]) > 0.1)
    np.testing.assert_allclose(shares[face], np.tile([0, 1], (face.sum(), 1)), atol=0.02)
    assert shoulder.any() and np.median(shares[shoulder].sum(1)) < 0.15


@needs_assets
def test_the_joints_lie_in_the_neck_and_at_the_skulls_base():
    neck, head = canonical_skeleton(closed_base()).joints
    assert neck[0] == pytest.approx(0, abs=1e-6) and head[0] == pytest.approx(0, abs=1e-6)
    assert -0.2 < neck[1] < -0.08 < head[1] < 0.02


@needs_assets
def test_the_posed_template_is_the_posed_base_mesh(mesh, anchors):
    """Skinning the template gives what reading the skinned MakeHuman mesh gives, where triangles do not bend."""
    pose = np.radians([5.0, 10.0, 3.0, 5.0, 10.0, -4.0])
    truth = anchors.read(makehuman(), pose_head(makehuman(), closed_base(), pose))
    shares = joint_shares(makehuman(), anchors, mesh[2])
    placed = canonical_skeleton(closed_base()).place(anchors.read(makehuman(), closed_base()), shares, pose)
    on_skin = (anchors.triangles < BASE_VERTICES).all(1)
    gap = np.linalg.norm(placed - truth, axis=1)[on_skin]
    assert np.median(gap) < 1e-5 and np.percentile(gap, 99) < 0.002
