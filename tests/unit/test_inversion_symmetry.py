# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from backend.inversion.method import PosedPortrait
from backend.inversion.symmetry import mirror_weight, symmetry_loss
from tests.small_planes import camera_at
from tests.unit.test_inversion_warp import SIZE, ball, depth_of

RADIUS = 0.25


@dataclass
class BallHead:
    """A ball whose colour depends on x by a parameter; world and canonical space are one."""

    slope: Tensor
    left_density: Tensor

    def to_canonical(self, points):
        return points

    def to_world(self, points):
        return points

    def decode(self, points):
        x = points[..., 0]
        density = 200.0 * torch.sigmoid((RADIUS + 0.01 - points.norm(dim=-1)) * 400)
        density = torch.where(x > 0, density * self.left_density, density)
        return density, (0.5 + self.slope * x)[..., None].expand(*x.shape, 3)


def head(slope=0.0, left_density=1.0) -> BallHead:
    return BallHead(torch.tensor(slope, requires_grad=True), torch.tensor(left_density, requires_grad=True))


def loss_of(one, yaw_deg, mask=1.0):
    cameras = camera_at(yaw_deg)
    depth = depth_of(ball(RADIUS), cameras)
    ones = torch.ones(1, 1, SIZE, SIZE)
    shown = (depth < 3).float() * mask
    portrait = PosedPortrait(ones.expand(-1, 3, -1, -1), shown, ones, cameras)
    random = torch.Generator().manual_seed(0)
    return symmetry_loss(one, portrait, depth, side=1.0, tolerance=0.05, random=random)


def test_a_frontal_portrait_has_no_mirrored_view():
    assert mirror_weight(0.0) == mirror_weight(0.19) == mirror_weight(-0.19) == 0


def test_the_weight_rises_from_three_tenths_to_a_half():
    assert mirror_weight(0.2) == pytest.approx(0.30, abs=0.002)
    at_30_degrees = 0.5 * (1 - math.exp(-((0.5236 / 0.29) ** 2) / 2) / (0.29 * math.sqrt(2 * math.pi)) / 2.7)
    assert mirror_weight(math.radians(30)) == pytest.approx(at_30_degrees, abs=1e-4)
    assert mirror_weight(math.radians(90)) == pytest.approx(0.5, abs=1e-4)
    weights = [mirror_weight(math.radians(yaw)) for yaw in range(12, 91)]
    assert weights == sorted(weights)


def test_both_sides_and_front_and_back_weigh_alike():
    for yaw in (0.1, 0.4, 1.0):
        assert mirror_weight(yaw) == mirror_weight(-yaw)
        assert mirror_weight(math.pi - yaw) == pytest.approx(mirror_weight(yaw))
        assert mirror_weight(2 * math.pi - yaw) == pytest.approx(mirror_weight(yaw))


def test_a_symmetric_head_costs_nothing():
    assert loss_of(head(), 50).item() == pytest.approx(0, abs=1e-4)


def test_a_frontal_portrait_asks_for_no_symmetry():
    assert loss_of(head(slope=2.0), 0).item() == pytest.approx(0, abs=5e-3)
    assert loss_of(head(slope=2.0), 50).item() > 0.1


def test_the_hidden_side_moves_towards_the_seen_one_and_not_the_seen_one():
    # From +x the camera sees the dense half; the other half is the one with a slope.
    thin_hidden = head(left_density=4.0)
    loss_of(thin_hidden, 50).backward()
    seen_from_left = thin_hidden.left_density.grad
    dense_hidden = head(left_density=4.0)
    loss_of(dense_hidden, -50).backward()
    assert dense_hidden.left_density.grad > 100 * seen_from_left.abs()


def test_what_is_not_the_head_is_not_mirrored():
    assert loss_of(head(slope=2.0), 50, mask=0.0).item() == 0
