# SPDX-License-Identifier: Apache-2.0
"""A body with turned neck and head: what goes with the head moves rigidly, and the way there leads back."""

import numpy as np
import pytest
import torch

from backend.errors import ModelError
from backend.generator import posed_head
from backend.generator.body_model import BodyModel
from backend.generator.deformation import LatticeDeformation, MeshDeformation
from backend.generator.posed_head import PosedHead, barycentric
from tests.bodies import HEAD_PLACE, NECK_PLACE, small_body

POSE = np.array([0.1, 0.3, 0.0, -0.2, 0.1, 0.05])
HEAD_MIDDLE = HEAD_PLACE + np.array([0, 0.08, 0.02]) - NECK_PLACE


@pytest.fixture(autouse=True)
def quick_lattice(monkeypatch):
    monkeypatch.setattr(posed_head, "LATTICE_NODES", 25)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return small_body()


@pytest.fixture(scope="module")
def head(body) -> PosedHead:
    return PosedHead(body, POSE, side=1.0, reach=0.25)


def ball(count=300, radius=0.15, seed=0):
    directions = np.random.default_rng(seed).normal(size=(count, 3))
    return HEAD_MIDDLE + radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def moved(points, motion):
    return points @ motion[:3, :3].T + motion[:3, 3]


def test_at_rest_nothing_moves(body):
    still = PosedHead(body, np.zeros(6), side=1.0, reach=0.25)
    points = ball()
    np.testing.assert_allclose(still.head_motion, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(still.motions(points), np.broadcast_to(np.eye(4), (300, 4, 4)), atol=1e-12)
    there = torch.from_numpy(points).float()[None]
    torch.testing.assert_close(still.deformation(there), there, atol=1e-6, rtol=0)


def test_its_neck_is_the_origin_and_what_goes_with_the_head_moves_with_it(head, body):
    of_head = body.weights[:, 15] == 1
    expected = moved(head.rest[of_head].numpy(), head.head_motion)
    # The pose's own corrections of the skin are millimetres.
    assert np.abs(head.posed[of_head].numpy() - expected).max() < 0.02
    np.testing.assert_allclose(body.joints(body.template)[12] - head.neck, 0, atol=1e-12)


def test_points_above_the_skin_go_with_it(head):
    points = ball(radius=0.13)
    upper = points[points[:, 1] > HEAD_MIDDLE[1]]
    np.testing.assert_allclose(head.motions(upper), np.broadcast_to(head.head_motion, (len(upper), 4, 4)), atol=1e-9)


def test_the_deformation_leads_back():
    head = PosedHead(small_body(corrections=0.0), POSE, side=1.0, reach=0.25)
    points = ball(radius=0.12)
    upper = points[points[:, 1] > HEAD_MIDDLE[1]]
    posed = torch.from_numpy(moved(upper, head.head_motion)).float()[None]
    np.testing.assert_allclose(head.deformation(posed)[0], upper, atol=1e-4)


def test_the_lattice_is_the_exact_map_but_for_its_steps(head):
    exact = MeshDeformation(head.posed[None], head.rest[None], head.faces, reach=0.25)
    lattice = LatticeDeformation(exact, side=1.0, nodes=33)
    nodes = torch.linspace(-0.5, 0.5, 33)[torch.randint(33, (200, 3), generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(lattice(nodes[None]), exact(nodes.double()[None]).float(), atol=1e-5, rtol=0)
    far = torch.tensor([[[0.6, 0.0, 0.0], [0.0, -3.0, 0.1]]])
    assert torch.equal(lattice(far), far)
    batch = torch.rand(3, 40, 3) - 0.5
    torch.testing.assert_close(lattice(batch)[1:2], lattice(batch[1:2]))


def test_shares_of_corners_give_the_foot_of_the_perpendicular():
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(50, 3, 3, generator=random, dtype=torch.float64)
    shares = torch.rand(50, 3, generator=random, dtype=torch.float64)
    shares = shares / shares.sum(1, keepdim=True)
    foot = (shares[..., None] * corners).sum(1)
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    torch.testing.assert_close(barycentric(foot + 0.3 * normal, corners), shares)
    beside = barycentric(foot + 10, corners)
    assert (beside >= 0).all()
    torch.testing.assert_close(beside.sum(1), torch.ones(50, dtype=torch.float64))


def test_a_body_in_centimetres_is_told():
    with pytest.raises(ModelError, match="none of metres"):
        PosedHead(small_body(scale=100.0), POSE, side=1.0, reach=0.25)
