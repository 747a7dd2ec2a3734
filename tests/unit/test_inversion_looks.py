# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.inversion.light import Light
from backend.inversion.looks import Look, average, photo_terms
from backend.inversion.view import PhotoRays, Target


def blank(count):
    ones = torch.ones(count)
    return Target(torch.zeros((count, 3)), ones, ones, ones)


def view(weight, target):
    count = len(target.mask)
    line = torch.ones((count, 1))
    return PhotoRays(
        torch.zeros((count, 1, 3)), line, line, line, target, 8, np.arange(count), torch.zeros((4, 3)), weight
    )


def views(*weights, targets=None):
    targets = targets or [blank(2)] * len(weights)
    return [view(weight, target) for weight, target in zip(weights, targets, strict=True)]


def test_photos_are_averaged_by_their_weights():
    values = [torch.tensor(1.0), torch.tensor(5.0)]
    assert float(average(values, views(1.0, 1.0))) == 3
    assert float(average(values, views(1.0, 0.25))) == pytest.approx(1.8)
    assert float(average(values[:1], views(0.2))) == 1


def test_a_head_that_is_right_is_right_in_every_light():
    color, ones = torch.rand((50, 3), generator=torch.Generator().manual_seed(0)), torch.ones(50)
    light = Light(torch.tensor([0.5, 0.7, 1.2]), torch.tensor([0.1, 0.0, -0.1]))
    none = Light(torch.ones(3), torch.zeros(3))
    targets = [Target(color, ones, ones, ones), Target(light.put_on(color), ones, ones, ones)]
    seen = views(1.0, 1.0, targets=targets)
    right = [Look(color, ones, ones[:, None], one) for one in (none, light)]
    unlit = [Look(color, ones, ones[:, None], none)] * 2
    assert float(photo_terms(right, seen)[0]) < 1e-6 < 0.05 < float(photo_terms(unlit, seen)[0])
