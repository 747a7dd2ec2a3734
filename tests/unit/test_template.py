# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from backend.skeleton import Skeleton
from backend.template import CREASE_M, ON_SURFACE_M, Deformation, closest_barycentric, lattice_binding
from tests.small_starter import AXES, EXPRESSIONS, SHAPES, SIDE, small_template


@pytest.fixture(scope="module")
def template():
    return small_template()


def on_surface(template, random, count=400):
    """Random points on the template's triangles: the triangle, barycentric weights, and the place."""
    face = random.integers(0, len(template.faces), count)
    weights = random.dirichlet([1.0, 1.0, 1.0], count)
    return face, weights, (template.vertices[template.faces[face]] * weights[..., None]).sum(1)


def test_the_nearest_point_of_a_triangle_is_nearer_than_any_other():
    random = np.random.default_rng(0)
    corners = random.normal(size=(400, 3, 3))
    points = 2 * random.normal(size=(400, 3))
    weights = closest_barycentric(points, corners)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    distance = np.linalg.norm(points - (weights[..., None] * corners).sum(1), axis=1)
    grid = np.array([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]) / 60
    others = np.linalg.norm(points[:, None] - np.einsum("gk,pkc->pgc", grid, corners), axis=-1).min(1)
    assert (distance <= others + 1e-12).all()
    assert (others - distance).max() < 0.1  # The grid's own coarseness.


def test_points_of_a_triangle_keep_their_weights():
    random = np.random.default_rng(1)
    corners, weights = random.normal(size=(200, 3, 3)), random.dirichlet([1.0, 1.0, 1.0], 200)
    weights[:3] = np.eye(3)
    weights[3:6] = 0.5 - 0.5 * np.eye(3)
    points = (corners * weights[..., None]).sum(1)
    np.testing.assert_allclose(closest_barycentric(points, corners), weights, atol=1e-6)


def test_a_triangle_without_area_still_has_a_nearest_point():
    line = np.array([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], [[1.0, 1, 1]] * 3])
    weights = closest_barycentric(np.array([[1.5, 1.0, 0.0], [0.0, 0.0, 0.0]]), line)
    np.testing.assert_allclose((weights[..., None] * line).sum(1), [[1.5, 0, 0], [1, 1, 1]], atol=1e-9)


def test_the_closest_triangle_is_that_of_an_exhaustive_search(template):
    random = np.random.default_rng(2)
    points = random.normal(size=(60, 3)) * AXES * 0.8
    face, weights, distance = template.closest(points)
    count = len(template.faces)
    corners = template.vertices[template.faces]
    for point, found in zip(points, distance, strict=True):
        every = np.repeat(point[None], count, axis=0)
        places = (closest_barycentric(every, corners)[..., None] * corners).sum(1)
        nearest = np.linalg.norm(point - places, axis=1).min()
        # Only triangles around the nearest vertices are tried.
        assert nearest <= found + 1e-12 and found - nearest < 2e-4
    place = (corners[face] * weights[..., None]).sum(1)
    np.testing.assert_allclose(np.linalg.norm(points - place, axis=1), distance, atol=1e-12)


def test_codes_add_up(template):
    shape, expression = np.arange(SHAPES) - 1.5, np.array([0.2, 0.0, 0.7])
    offsets = template.offsets(shape, expression)
    slow = template.neutral.copy()
    for value, basis in zip([*shape, *expression], [*template.shape, *template.expression], strict=True):
        slow += value * basis
    np.testing.assert_allclose(offsets, slow, atol=1e-15)
    assert len(template.expression) == len(EXPRESSIONS)


def test_landmarks_lie_on_their_triangles_and_follow_the_vertices(template):
    numbers = [3, 100, 7]
    by_hand = [
        sum(
            template.landmark_weights[n, k] * template.vertices[template.faces[template.landmark_faces[n], k]]
            for k in range(3)
        )
        for n in numbers
    ]
    np.testing.assert_allclose(template.landmarks(template.vertices, numbers), by_hand, atol=1e-12)
    moves = template.landmarks(template.shape)
    assert moves.shape == (SHAPES, 478, 3)
    sum_of_both = template.landmarks(template.vertices) + moves[1]
    np.testing.assert_allclose(template.landmarks(template.vertices + template.shape[1]), sum_of_both, atol=1e-12)


def test_every_point_follows_vertices_whose_weights_add_up_to_one(template):
    points = np.random.default_rng(3).uniform(-0.21, 0.21, (500, 3))
    binding = template.binding(points)
    np.testing.assert_allclose(np.asarray(binding.sum(1)).ravel(), 1, atol=1e-9)
    assert binding.data.min() >= 0


def test_a_rigid_shift_moves_all_of_space(template):
    points = np.random.default_rng(4).uniform(-0.21, 0.21, (300, 3))
    shift = np.array([0.01, -0.02, 0.03])
    moved = Deformation(template, np.tile(shift, (len(template.vertices), 1)), SIDE).to_world(points)
    np.testing.assert_allclose(moved, points + shift, atol=1e-9)


def test_points_on_the_surface_follow_their_triangle_exactly(template):
    face, weights, points = on_surface(template, np.random.default_rng(5))
    offsets = template.offsets(np.full(SHAPES, 1.5), np.full(len(EXPRESSIONS), 0.5))
    moved = template.vertices + offsets
    truth = (moved[template.faces[face]] * weights[..., None]).sum(1)
    np.testing.assert_allclose(Deformation(template, offsets, SIDE).to_world(points), truth, atol=1e-9)


def with_an_eye(template):
    """The same with an eyeball where the egg's face is, under a lid that would slide over it."""
    eye = np.linalg.norm(template.vertices - [0, 0, AXES[2]], axis=1) < 0.03
    lid = np.flatnonzero(~eye)
    expression = np.zeros((1, *template.vertices.shape))
    expression[0, lid] = [0.0, -0.01, 0.0]
    return replace(template, on_eye=eye, expression=expression, expression_names=("eyeBlinkLeft",))


def test_what_lies_between_lid_and_eyeball_goes_with_one_of_them(template):
    eyed = with_an_eye(template)
    _, _, points = on_surface(eyed, np.random.default_rng(8), count=3000)
    moved = eyed.binding(points) @ eyed.expression[0]
    whole = [np.abs(moved - way).max(1) < 1e-9 for way in (eyed.expression[0].min(0), np.zeros(3))]
    assert whole[0].any() and whole[1].any()
    assert (whole[0] | whole[1]).all()
    between = replace(eyed, on_eye=None).binding(points) @ eyed.expression[0]
    assert ((between[:, 1] < -0.001) & (between[:, 1] > -0.009)).sum() > 10


def test_what_stands_off_from_the_eyeball_beside_the_lid_is_lid():
    eyed = with_an_eye(small_template(subdivisions=6))
    tree = cKDTree(eyed.vertices[~eyed.on_eye])
    fan = eyed.on_eye[eyed.faces].all(1)
    middle = eyed.vertices[eyed.faces[fan]].mean(1)
    out = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    for off, reach, lid_follows in ((0.0004, (0, CREASE_M), True), (0.0, (0, 1), False), (0.0004, (0.004, 1), False)):
        points = middle + off * out
        distance, _ = tree.query(points)
        chosen = (distance > reach[0]) & (distance < reach[1])
        assert chosen.any()
        moves = (eyed.binding(points[chosen]) @ eyed.expression[0])[:, 1] < -0.009
        assert (moves == lid_follows).all()


def test_offsets_change_smoothly_with_the_distance_from_the_surface(template):
    """No tear where the surface's binding hands over to that of the space around; neighbours change in small steps."""
    offsets = template.offsets(np.full(SHAPES, 2.0), np.zeros(len(EXPRESSIONS)))
    height = np.arange(0.0, 0.03, 2e-5)
    normal = np.array([0.3, 0.5, 0.8]) / np.linalg.norm([0.3, 0.5, 0.8])
    start = AXES * normal / np.linalg.norm(normal)
    ray = start + height[:, None] * normal
    shift = template.binding(ray) @ offsets
    assert np.linalg.norm(np.diff(shift, axis=0), axis=1).max() < 0.03 * np.linalg.norm(offsets, axis=1).max()
    assert height[-1] > ON_SURFACE_M[1]


def test_to_canonical_undoes_to_world(template):
    random = np.random.default_rng(6)
    deformation = Deformation(template, template.offsets(random.normal(size=SHAPES), np.full(3, 0.3)), SIDE)
    _, _, skin = on_surface(template, random)
    space = random.uniform(-0.2, 0.2, (400, 3))
    for points in (skin, space):
        back = deformation.to_canonical(deformation.to_world(points))
        assert np.linalg.norm(back - points, axis=1).max() < 0.003
        assert np.median(np.linalg.norm(back - points, axis=1)) < 0.0005


def test_a_head_at_rest_is_its_own_canonical_head(template):
    points = np.random.default_rng(7).uniform(-0.2, 0.2, (50, 3))
    still = Deformation(template, np.zeros_like(template.vertices), SIDE)
    np.testing.assert_array_equal(still.to_world(points), points)
    np.testing.assert_allclose(still.to_canonical(points), points, atol=1e-12)


def test_the_deformation_lattice_is_that_of_its_own_cube(template):
    """One template may serve cubes of two sizes."""
    for side in (0.42, 0.30):
        corner = lattice_binding(template, side)[-1]
        expected = template.binding(np.full((1, 3), side / 2))
        assert abs(corner - expected).max() < 1e-12


def with_neck(template):
    """Everything above the egg's middle goes with the head, smoothly."""
    head = np.clip((template.vertices[:, 1] + 0.05) / 0.05, 0, 1)
    skeleton = Skeleton(np.array([[0.0, -0.08, -0.02], [0.0, -0.04, 0.0]]))
    return replace(template, skeleton=skeleton, joint_shares=np.column_stack([(1 - head) * head, head**2]))


def test_a_posed_head_turns_as_one_piece(template):
    turned = with_neck(template)
    pose = np.array([0.05, 0.1, 0.0, 0.1, 0.2, -0.05])
    deformation = Deformation(turned, np.zeros_like(template.vertices), SIDE, pose)
    crown = np.random.default_rng(8).uniform(-0.06, 0.06, (100, 3)) + np.array([0, 0.1, 0])
    placed = deformation.to_world(crown)
    truth = turned.skeleton.place(crown, np.tile([0.0, 1.0], (100, 1)), pose)
    np.testing.assert_allclose(placed, truth, atol=1e-9)


def test_to_canonical_undoes_a_pose(template):
    random = np.random.default_rng(9)
    turned = with_neck(template)
    pose = np.radians([5.0, 10.0, 3.0, 5.0, 10.0, 4.0])
    offsets = turned.offsets(random.normal(size=SHAPES), np.full(3, 0.3))
    deformation = Deformation(turned, offsets, SIDE, pose)
    _, _, skin = on_surface(turned, random)
    back = deformation.to_canonical(deformation.to_world(skin))
    assert np.linalg.norm(back - skin, axis=1).max() < 0.003
    assert np.median(np.linalg.norm(back - skin, axis=1)) < 0.0005


def test_a_template_without_a_neck_does_not_turn(template):
    still = Deformation(template, np.zeros_like(template.vertices), SIDE, np.full(6, 0.3))
    points = np.random.default_rng(10).uniform(-0.2, 0.2, (50, 3))
    np.testing.assert_allclose(still.to_world(points), points, atol=1e-12)
