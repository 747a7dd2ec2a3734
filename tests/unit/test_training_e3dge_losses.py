# SPDX-License-Identifier: Apache-2.0
"""Known answers of the geometry and detail terms."""

from dataclasses import replace

import pytest
import torch

from backend.e3dge import DetailBranch, Seen
from backend.training.e3dge_head import ShapedHead
from backend.training.e3dge_losses import RANGE_M, detail_losses, geometry_losses
from tests.small_samples import face_starter, space_of
from tests.small_starter import AXES, SHAPES, front_points

SHIFT_M = 0.003
TERMS = ("surface", "near", "normal", "color")


@pytest.fixture(scope="module")
def starter():
    return face_starter()


@pytest.fixture(scope="module")
def space(starter):
    return space_of(starter)


@pytest.fixture(scope="module")
def head(starter, space):
    codes = {"z": starter.candidates[:1], "shape": torch.zeros(1, SHAPES), "expression": torch.zeros(1, 3)}
    made = ShapedHead.of(starter.generator, space, **codes)
    return replace(made, lattice=torch.zeros_like(made.lattice))


def points():
    surface = torch.from_numpy(front_points(60)).float()[None]
    near = surface + 0.004 * torch.randn(surface.shape, generator=torch.Generator().manual_seed(0))
    return {"surface": surface, "near": near, "sloped": surface[:, :20]}


def test_the_true_head_costs_nothing(head):
    losses = geometry_losses(head, head, **points())
    for name in TERMS:
        assert float(losses[name]) == 0


def test_a_head_shifted_forward_costs_its_shift(head):
    shift = torch.zeros(1, 3, 1, 1, 1)
    shift[:, 2] = SHIFT_M
    moved = replace(head, lattice=head.lattice + shift)
    surface = points()["surface"]
    normal = surface / torch.from_numpy(AXES).float() ** 2
    normal /= normal.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(moved.distance(surface), -SHIFT_M * normal[..., 2], atol=4e-4, rtol=0)
    losses = geometry_losses(moved, head, **points())
    expected = SHIFT_M * float(normal[..., 2].mean())
    assert float(losses["surface_mm"]) == pytest.approx(1000 * expected, rel=0.05)
    assert float(losses["surface"]) == pytest.approx(expected / RANGE_M - 0.025, rel=0.1)  # Less half of the bend.
    assert float(losses["near"]) > 0.05


def test_the_geometry_terms_pull_codes_to_the_truth(starter, space):
    z, expression = starter.candidates[:1], torch.zeros(1, 3)
    true = ShapedHead.of(starter.generator, space, z=z, shape=torch.zeros(1, SHAPES), expression=expression)
    shape = torch.full((1, SHAPES), 0.8, requires_grad=True)
    optimizer = torch.optim.Adam([shape], lr=0.1)
    for _ in range(15):
        told = ShapedHead.of(starter.generator, space, z=z, shape=shape, expression=expression)
        losses = geometry_losses(told, true, **points())
        optimizer.zero_grad()
        (losses["surface"] + losses["near"]).backward()
        optimizer.step()
    assert float(shape.detach().norm()) < 0.6 * 0.8 * SHAPES**0.5


def seen_of(starter, size=8):
    head = starter.generator.planes(starter.generator.map(starter.candidates[:1]))
    places = torch.from_numpy(front_points(size * size)).float()[None]
    first = starter.generator.decode(head, places)[1].transpose(1, 2).unflatten(2, (size, size))
    across = starter.generator.decode(head, places * torch.tensor([-1.0, 1, 1]))[1]
    picture = {"photo": first, "first": first, "mirrored": across.transpose(1, 2).unflatten(2, (size, size))}
    shown = torch.ones(1, 1, size, size)
    return head, Seen(**picture, depth=0 * shown, shown=shown, points=places.transpose(1, 2).unflatten(2, (size, size)))


@torch.no_grad()
def test_an_untrained_local_stage_leaves_a_perfect_reconstruction_perfect(starter):
    head, seen = seen_of(starter)
    branch = DetailBranch(channels=4, side_px=8)
    novel = torch.from_numpy(front_points(30, seed=2)).float()[None]
    color = starter.generator.decode(head, novel)[1]
    losses = detail_losses(
        starter.generator, branch, head, seen, clean=seen.first, novel_points=novel, novel_color=color
    )
    for name in ("seen", "seen_edges", "novel", "size", "variation"):
        assert float(losses[name]) == pytest.approx(0, abs=1e-6)


@torch.no_grad()
def test_edges_do_not_see_light_and_pixels_without_trust_do_not_count(starter):
    head, seen = seen_of(starter)
    branch = DetailBranch(channels=4, side_px=8)
    novel = {"novel_points": seen.points.flatten(2).transpose(1, 2), "novel_color": torch.zeros(1, 64, 3)}
    brighter = detail_losses(starter.generator, branch, head, seen, clean=seen.first - 0.1, **novel)
    assert float(brighter["seen"]) == pytest.approx(0.1, abs=1e-5)
    assert float(brighter["seen_edges"]) == pytest.approx(0, abs=1e-6)
    half = torch.ones(1, 1, 8, 8)
    half[..., 4:] = 0
    wrong = seen.first.clone()
    wrong[..., 4:] += 5
    distrusted = replace(seen, shown=half)
    losses = detail_losses(starter.generator, branch, head, distrusted, clean=wrong, **novel)
    assert float(losses["seen"]) == pytest.approx(0, abs=1e-6)
