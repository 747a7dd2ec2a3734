# SPDX-License-Identifier: Apache-2.0
"""Linear blend skinning against known answers and the paper's equations written out slowly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.errors import ModelError
from backend.generator.body_model import HEAD, NECK, BodyModel, carried, check_links, expected_shapes, exponential
from tests.bodies import HEAD_PLACE, NECK_PLACE, PARENTS, body_arrays, body_tensors

ARRAYS = body_arrays(subdivisions=1)
REST = torch.zeros(24, 3, dtype=torch.float64)


def random_pose(seed=0, scale=0.5):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (24, 3)))


@pytest.fixture(scope="module")
def body():
    return BodyModel.from_tensors(body_tensors(ARRAYS))


@pytest.fixture(scope="module")
def rigid(body):
    return replace(body, corrections=torch.zeros_like(body.corrections))


def test_at_rest_it_is_the_template(body):
    posed = body.posed(REST)
    torch.testing.assert_close(posed.vertices, body.template)
    torch.testing.assert_close(posed.joints, body.joints(body.template))
    np.testing.assert_allclose(posed.joints[[NECK, HEAD]], [NECK_PLACE, HEAD_PLACE], atol=1e-12)


def test_a_turned_head_moves_its_vertices_rigidly_and_no_others(rigid):
    pose = REST.clone()
    pose[HEAD] = torch.tensor([0.3, -0.5, 0.2])
    turn = Rotation.from_rotvec(pose[HEAD].numpy()).as_matrix()
    vertices, template = rigid.posed(pose).vertices.numpy(), rigid.template.numpy()
    of_head = ARRAYS["weights"][:, HEAD] == 1
    expected = (template[of_head] - HEAD_PLACE) @ turn.T + HEAD_PLACE
    np.testing.assert_allclose(vertices[of_head], expected, atol=1e-12)
    np.testing.assert_allclose(vertices[~of_head], template[~of_head], atol=1e-12)


def test_the_head_goes_with_the_neck(rigid):
    pose = REST.clone()
    pose[NECK] = torch.tensor([0.0, 0.4, 0.1])
    turn = Rotation.from_rotvec(pose[NECK].numpy()).as_matrix()
    posed = rigid.posed(pose)
    np.testing.assert_allclose(posed.joints[HEAD], turn @ (HEAD_PLACE - NECK_PLACE) + NECK_PLACE, atol=1e-12)
    np.testing.assert_allclose(posed.transforms[HEAD, :3, :3], turn, atol=1e-12)


def test_a_turned_root_turns_all_about_it(rigid):
    pose = REST.clone()
    pose[0] = torch.tensor([0.0, np.pi / 2, 0.0])
    root = rigid.joints(rigid.template)[0]
    turned = (rigid.template - root) @ exponential(pose[0]).T + root
    torch.testing.assert_close(rigid.posed(pose).vertices, turned)


def slow_body(arrays, pose, betas):
    """Equations 2 to 10 entry by entry."""
    shaped = arrays["v_template"] + sum(beta * arrays["shapedirs"][:, :, n] for n, beta in enumerate(betas))
    joints = arrays["J_regressor"] @ shaped
    rotations = Rotation.from_rotvec(pose).as_matrix()
    entries = (rotations[1:] - np.eye(3)).reshape(-1)
    corrected = shaped + sum(entry * arrays["posedirs"][:, :, n] for n, entry in enumerate(entries))
    vertices = np.zeros_like(corrected)
    for joint in range(24):
        chain = [joint]
        while PARENTS[chain[0]] >= 0:
            chain.insert(0, PARENTS[chain[0]])
        for number, point in enumerate(corrected):
            place = point
            for one in reversed(chain):
                place = rotations[one] @ (place - joints[one]) + joints[one]
            vertices[number] += arrays["weights"][number, joint] * place
    return vertices


def test_any_pose_of_any_shape_is_the_paper_s(body):
    pose, betas = random_pose(), torch.linspace(-2, 2, 12, dtype=torch.float64)
    found = body.posed(pose, betas).vertices
    np.testing.assert_allclose(found, slow_body(ARRAYS, pose.numpy(), betas.numpy()), atol=1e-10)


def test_rotations_are_those_of_scipy():
    vectors = random_pose(1, 2.0)
    vectors[0] = 0
    np.testing.assert_allclose(exponential(vectors), Rotation.from_rotvec(vectors.numpy()).as_matrix(), atol=1e-12)


def test_points_without_motion_stay():
    points, weights = random_pose(2), torch.full((24, 5), 0.2, dtype=torch.float64)
    torch.testing.assert_close(carried(points, weights, torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)), points)


def test_models_of_a_hand_or_a_face_are_no_bodies():
    shapes = {name: array.shape for name, array in ARRAYS.items()}
    assert expected_shapes(shapes) == shapes
    for joints in (5, 16):
        with pytest.raises(ModelError, match=f"of {joints} joints") as caught:
            expected_shapes(shapes | {"weights": (84, joints)})
        assert caught.value.code == "checkpoint_network"


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [("f", (0, 0), 84), ("f", (3, 1), -1), ("kintree_table", (0, 0), 0), ("kintree_table", (0, 3), 3)],
)
def test_links_to_nothing_are_refused(name, place, value):
    broken = body_tensors(ARRAYS)
    broken[name][place] = value
    with pytest.raises(ModelError) as caught:
        check_links(broken)
    assert caught.value.code == "checkpoint_values"
