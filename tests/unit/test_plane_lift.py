# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.generator.starter import HeadPlanes
from backend.plane_lift import PlaneLift, laid_on_planes, upsample_offset

SIDE = 0.42


@pytest.fixture
def lift():
    torch.manual_seed(0)
    lift = PlaneLift(channels=4, side_px=8)
    torch.nn.init.normal_(lift.spread[-1].weight)
    return lift.eval()


@pytest.fixture
def head():
    return HeadPlanes(torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1)), torch.rand(1, 5, 3))


def evidence(count=40):
    random = torch.Generator().manual_seed(2)
    points = (torch.rand((1, count, 3), generator=random) - 0.5) * 0.2
    return points, torch.rand((1, count, 3), generator=random), torch.rand((1, count, 3), generator=random)


def offset(lift, head, points, photo, first, weight=None):
    weight = torch.ones(points.shape[:2]) if weight is None else weight
    return lift(head, points, photo, weight, first=first, side=SIDE)


def test_untrained_there_is_no_offset(head):
    assert not offset(PlaneLift(channels=4, side_px=8), head, *evidence()).any()


def test_the_order_of_points_does_not_matter(lift, head):
    points, photo, first = evidence()
    order = torch.randperm(40)
    expected = offset(lift, head, points, photo, first)
    torch.testing.assert_close(offset(lift, head, points[:, order], photo[:, order], first[:, order]), expected)


def test_points_without_trust_do_not_count(lift, head):
    points, photo, first = evidence()
    weight = torch.ones(1, 40)
    weight[:, 30:] = 0
    photo[:, 30:] = 5.0
    expected = offset(lift, head, points[:, :30], photo[:, :30], first[:, :30])
    torch.testing.assert_close(offset(lift, head, points, photo, first, weight), expected)


def test_a_point_drops_its_features_where_the_planes_are_looked_up():
    """Cell for cell: a lone point is pooled into the cells that a lookup of it reads."""
    from backend.generator.planes import sample_each_plane
    from backend.generator.starter import warp

    point = torch.tensor([[[0.03, -0.05, 0.07]]])
    place = warp(point, SIDE) * (2 / SIDE)
    pooled = laid_on_planes(place, torch.ones(1, 1, 24), torch.ones(1, 1), 8)
    read = sample_each_plane(pooled, warp(point, SIDE), side=SIDE, axes="corrected")
    assert (read[0, :, 0, :24] > 0.2).all() and int((pooled[0, :, 0] > 0).sum()) == 3


def test_an_enlarged_offset_keeps_constants():
    torch.testing.assert_close(
        upsample_offset(torch.full((1, 3, 2, 4, 4), 0.7), 16), torch.full((1, 3, 2, 16, 16), 0.7)
    )
