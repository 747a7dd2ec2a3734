# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from backend.inversion.losses import (
    bare_face_loss,
    geometry_loss,
    mirror_image,
    pattern_loss,
    photo_loss,
    total_variation,
)
from backend.inversion.view import Target


def target(color, mask, weight=None, outline=None):
    ones = torch.ones(len(mask))
    trust = ones if weight is None else torch.tensor(weight)
    return Target(torch.tensor(color), torch.tensor(mask), trust, trust if outline is None else torch.tensor(outline))


def test_a_perfect_picture_costs_nothing():
    shown = target([[0.2, 0.4, 0.6], [0.9, 0.8, 0.7]], [1.0, 0.0])
    color, silhouette = photo_loss(shown.color, shown.mask, shown)
    assert color == 0 and silhouette == pytest.approx(0, abs=2e-4)


def test_color_counts_inside_the_matte_where_the_photo_is_trusted():
    shown = target([[0.5, 0.5, 0.5]] * 4, [1.0, 1.0, 0.5, 0.0], weight=[1.0, 0.0, 1.0, 1.0])
    wrong = torch.tensor([[0.6, 0.5, 0.5], [0.0, 0.0, 0.0], [0.8, 0.8, 0.8], [1.0, 1.0, 1.0]])
    color, _ = photo_loss(wrong, shown.mask, shown)
    assert color == pytest.approx((0.1 / 3 + 0.5 * 0.3) / 1.5, rel=1e-5)


def test_the_silhouette_costs_the_cross_entropy_where_the_outline_counts():
    shown = target([[0.0] * 3] * 3, [1.0, 0.0, 1.0], outline=[1.0, 0.1, 0.0])
    _, silhouette = photo_loss(shown.color, torch.tensor([0.5, 0.25, 0.01]), shown)
    assert silhouette == pytest.approx((-math.log(0.5) - 0.1 * math.log(0.75)) / 1.1, rel=1e-5)


def test_the_slope_pulls_opacity_to_the_matte():
    opacity = torch.full((2,), 0.5, requires_grad=True)
    shown = target([[0.0] * 3] * 2, [1.0, 0.0])
    photo_loss(shown.color, opacity, shown)[1].backward()
    assert opacity.grad[0] < 0 < opacity.grad[1]


def test_a_pattern_does_not_depend_on_brightness_or_contrast():
    grey = torch.rand((200, 1), generator=torch.Generator().manual_seed(0)).expand(-1, 3)
    shown = target(grey.tolist(), [1.0] * 200)
    assert pattern_loss(grey * 0.4 + 0.2, shown) == pytest.approx(0, abs=1e-5)
    assert pattern_loss(1 - grey, shown) > 1
    assert pattern_loss(torch.full_like(grey, 0.3), shown) > 0.5


def test_total_variation_of_a_ramp_is_its_squared_step():
    ramp = 0.3 * torch.arange(8.0).expand(1, 3, 2, 8, 8)
    assert total_variation(ramp) == pytest.approx(0.09 / 2, rel=1e-5)
    assert total_variation(torch.ones((1, 3, 2, 8, 8))) == 0
    assert total_variation(ramp) == pytest.approx(float(total_variation(ramp.transpose(3, 4))))


def test_hair_costs_on_the_face_and_nowhere_else():
    points = torch.tensor([[[0.0, 0.0, 0.1], [0.0, 0.0, -0.1], [0.0, 0.1, 0.1], [0.06, 0.0, 0.1]]])
    covering = torch.tensor([[-0.002, -0.01, -0.01, -0.01]])
    assert bare_face_loss(covering, points, clearance=0.004) == pytest.approx(1.5)
    off = torch.tensor([[0.005, -0.01, -0.01, -0.01]])
    assert bare_face_loss(off, points, clearance=0.004) == 0


def test_without_a_face_in_view_nothing_is_covered():
    assert bare_face_loss(torch.full((1, 3), -0.1), torch.zeros((1, 3, 3)), clearance=0.004) == 0


def test_a_departure_by_the_tolerance_costs_one():
    prior = torch.rand((5, 4))
    assert geometry_loss(prior + 0.005, prior, tolerance=0.005) == pytest.approx(1, rel=1e-4)
    assert geometry_loss(prior, prior, tolerance=0.005) == 0


def test_mirroring_twice_changes_nothing():
    points = torch.randn((4, 7, 3))
    assert torch.equal(mirror_image(mirror_image(points)), points)
    torch.testing.assert_close(mirror_image(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 2.0, 3.0]]))
