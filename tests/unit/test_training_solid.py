# SPDX-License-Identifier: Apache-2.0
import numpy as np
import trimesh

from backend.training.makehuman import EYEBALLS, to_canonical
from backend.training.solid import SIDE, SOCKET_FRONT, carve, distance_lattice, lattice_points, mesh_distance
from tests.mean_body import mean_solid, needs_assets, parted_base


def ball(radius, subdivisions=4):
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return np.array(sphere.vertices), np.array(sphere.faces)


def test_the_distance_to_a_ball_is_its_formula():
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (500, 3))
    np.testing.assert_allclose(mesh_distance(points, *ball(0.1)), np.linalg.norm(points, axis=1) - 0.1, atol=5e-4)


def test_an_open_mesh_still_has_an_inside():
    """The winding number says so where a sign by normals would not."""
    vertices, faces = ball(0.1)
    rest = faces[vertices[faces][:, :, 1].max(1) < 0.095]
    assert len(rest) < len(faces)
    assert mesh_distance(np.array([[0.0, 0.0, 0.0], [0.0, -0.09, 0.0]]), vertices, rest).max() < 0
    assert mesh_distance(np.array([[0.15, 0.0, 0.0], [0.0, 0.15, 0.0]]), vertices, rest).min() > 0


def test_lattice_nodes_reach_from_corner_to_corner_in_order():
    points = lattice_points(np.array([-1.0, 0, 2]), np.array([1.0, 3, 5]), (3, 4, 7))
    assert points.shape == (3, 4, 7, 3)
    np.testing.assert_allclose(points[0, 0, 0], [-1, 0, 2])
    np.testing.assert_allclose(points[-1, -1, -1], [1, 3, 5])
    np.testing.assert_allclose(points[1, 2, 4], [0, 2, 4])


def open_bowl(radius=0.12):
    """The lower half of a ball's surface; open, and of no thickness."""
    vertices, faces = ball(radius)
    return vertices, faces[vertices[faces][:, :, 1].max(1) < 0.03]


def test_carving_keeps_a_closed_solid():
    distance = carve(*ball(0.12), resolution=40, lowest_deg=-90.0, directions=20)
    nodes = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (40,) * 3)
    truth = np.linalg.norm(nodes, axis=-1) - 0.12
    near = np.abs(truth) < 0.03
    assert np.abs(distance - truth)[near].max() < 1.2 * SIDE / 39
    assert ((distance < 0) == (truth < 0))[np.abs(truth) > SIDE / 39].all()


def test_what_can_be_seen_only_from_below_becomes_solid():
    """A cup upside down, seen from above only, is full."""
    vertices, faces = open_bowl()
    turned = vertices * [1, -1, 1]
    middle = (19, 20, 19)
    assert carve(turned, faces, resolution=40, lowest_deg=0.0, directions=20)[middle] < 0
    assert carve(turned, faces, resolution=40, lowest_deg=-90.0, directions=20)[19, 12, 19] > 0


def test_a_few_lucky_views_do_not_empty_a_solid():
    vertices, faces = ball(0.12)
    hole = faces[np.abs(vertices[faces].mean(1) - [0.12, 0, 0]).max(1) > 0.012]
    assert len(hole) < len(faces)
    distance = carve(vertices, hole, resolution=40, lowest_deg=-90.0, directions=20, seen_by=4)
    assert distance[19, 19, 19] < -0.05


@needs_assets
def test_the_body_is_closed_and_its_skin_is_its_surface():
    solid = mean_solid()
    skin = to_canonical(parted_base())[np.unique(solid.skin_faces)]
    head = skin[(skin[:, 1] > -0.1) & (np.abs(skin) < SIDE / 2).all(1)]
    distance = solid.distance(head)
    assert distance.max() < 1e-6
    assert np.median(np.abs(distance)) < 1e-5  # Skin within sockets and throat lies deeper.
    far = np.array([[0.2, 0.2, 0.2], [0.0, 0.0, 0.2], [-0.2, 0.0, 0.0]])
    assert (solid.distance(far) > 0.03).all()
    assert solid.distance(np.zeros((1, 3)))[0] < -0.03


@needs_assets
def test_sockets_and_throat_are_filled():
    solid = mean_solid()
    eyes = [to_canonical(parted_base())[part].mean(0) for part in EYEBALLS]
    behind = np.array(eyes) - np.array([0, 0, 0.01])
    assert (solid.distance(behind) < -0.003).all()
    assert (solid.distance(np.array([[0.0, -0.035, 0.05]])) < 0).all()
    front = np.array(eyes) + np.array([0, 0, SOCKET_FRONT + 0.015])
    assert (solid.distance(front) > 0).all()


@needs_assets
def test_the_parted_lips_leave_a_gap():
    """Going down in front of the teeth one leaves the upper lip before one enters the lower."""
    height = np.arange(-0.02, -0.055, -0.0005)
    inside = [
        mean_solid().distance(np.stack([np.zeros_like(height), height, np.full_like(height, depth)], 1)) < 0
        for depth in np.arange(0.095, 0.125, 0.002)
    ]
    assert max(np.abs(np.diff(column.astype(int))).sum() for column in inside) >= 3


@needs_assets
def test_the_lattice_is_exact_near_the_surface():
    low, high, shape = np.array([-0.06, -0.06, 0.04]), np.array([0.06, 0.06, 0.13]), (25, 25, 19)
    lattice = distance_lattice(mean_solid(), low, high, shape)
    points = lattice_points(low, high, shape)
    truth = mean_solid().distance(points.reshape(-1, 3)).reshape(shape)
    near = np.abs(truth) < 0.01
    np.testing.assert_allclose(lattice[near], truth[near], atol=1e-6)
    assert np.abs(lattice - truth).max() < 0.01
    assert ((lattice < 0) == (truth < 0)).all()


@needs_assets
def test_the_body_is_symmetric():
    points = np.random.default_rng(0).uniform(-0.12, 0.12, (300, 3))
    one, other = mean_solid().distance(points), mean_solid().distance(points * [-1, 1, 1])
    np.testing.assert_allclose(one, other, atol=0.002)


@needs_assets
def test_the_mouths_back_wall_lies_behind_the_gap_of_the_lips_and_on_no_skin():
    solid = mean_solid()
    points = solid.mouth_points(100, np.random.default_rng(0))
    assert 50 < len(points) <= 100
    assert np.abs(solid.distance(points)).max() < 0.0005
    assert (np.abs(points[:, 0]) < 0.03).all() and (points[:, 2] > 0.085).all()
    assert np.abs(mesh_distance(points, solid.vertices, solid.skin_faces)).min() > 0.0014
