# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.inversion.losses import mirror_image
from backend.inversion.starter_space import HeadSpace
from backend.template import Deformation
from tests.small_starter import SIDE, small_starter


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def deformation(starter):
    """A shaped and smiling egg."""
    offsets = starter.template.offsets(np.array([1.0, -1.5, 0.5, 0.0]), np.array([0.3, 0.8, 0.0]))
    return Deformation(starter.template, offsets, SIDE)


@pytest.fixture(scope="module")
def space(starter, deformation):
    return HeadSpace.of(starter.generator, deformation)


@pytest.fixture(scope="module")
def around(starter):
    """Canonical points within two centimetres of the skin."""
    vertices = starter.template.vertices
    random = np.random.default_rng(2)
    return vertices[random.integers(len(vertices), size=3000)] + random.uniform(-0.012, 0.012, (3000, 3))


def batch(points):
    return torch.from_numpy(points).float()[None]


def apart(found, expected):
    """Distances in millimetres."""
    return 1000 * np.linalg.norm(found[0].numpy() - expected, axis=1)


def test_world_points_are_carried_as_the_deformation_carries_them(space, deformation, around):
    world = deformation.to_world(around)
    errors = apart(space.to_canonical(batch(world)), deformation.to_canonical(world))
    assert errors.max() < 1.0 and errors.mean() < 0.2


def test_canonical_points_are_carried_back(space, deformation, around):
    errors = apart(space.to_world(batch(around)), deformation.to_world(around))
    assert errors.mean() < 0.5
    there_and_back = apart(space.to_world(space.to_canonical(batch(around))), around)
    assert there_and_back.max() < 1.0


def test_a_mirrored_body_is_the_same_across_the_middle(space, around):
    points = batch(around)
    for ours, theirs in ((space.mirrored.to_canonical, space.to_canonical), (space.mirrored.to_world, space.to_world)):
        torch.testing.assert_close(ours(points), mirror_image(theirs(mirror_image(points))), atol=1e-6, rtol=0)
    scaffold = space.mirrored.scaffold
    torch.testing.assert_close(scaffold.canonical.flip(0), mirror_image(space.scaffold.canonical), atol=1e-6, rtol=0)


def test_the_scaffold_asks_about_hair_all_over_the_skin_and_nowhere_else(space):
    scaffold = space.scaffold
    assert scaffold.asked[(scaffold.body.abs() < 0.01) & (scaffold.wall < 0)].all()
    assert not scaffold.asked[scaffold.body < -0.03].any() and not scaffold.asked[scaffold.wall > 0].any()
