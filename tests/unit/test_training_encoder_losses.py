# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.crop_camera import project_points
from backend.starter_encoder import Encoding
from backend.training.encoder import LEAST_SPREAD
from backend.training.encoder_losses import (
    LANDMARK_SHARE,
    WEIGHTS,
    code_losses,
    color_factor,
    doubt_loss,
    length,
    measures,
    unlit_gap,
)
from tests.small_starter import front_points, small_starter

RANDOM = torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def points():
    return torch.from_numpy(front_points(200)).float()


@pytest.fixture(scope="module")
def known(starter, points):
    return measures(starter, points, heads=2)


def test_a_shape_difference_is_measured_in_millimetres_on_the_surface(starter, known):
    """A basis that shifts every vertex by 3 mm is 3 mm off."""
    shifted = replace(starter.template, shape=np.broadcast_to([0.0, 0.0, 0.003], starter.template.shape.shape).copy())
    factor = measures(replace(starter, template=shifted), torch.zeros(4, 3), heads=1).shape
    assert float(length(torch.eye(4)[:1], factor)) == pytest.approx(3, abs=1e-3)
    # The slow way: vertices and landmarks moved by a code.
    code = torch.randn((1, 4), generator=RANDOM)
    moved = 1000 * np.tensordot(code[0].numpy(), starter.template.shape, 1)
    corners = starter.template.faces[starter.template.landmark_faces]
    there = np.einsum("nk,nkc->nc", starter.template.landmark_weights, moved[corners])
    squares = [(LANDMARK_SHARE, there), (1 - LANDMARK_SHARE, moved)]
    expected = np.sqrt(sum(share * (offset**2).sum(1).mean() for share, offset in squares))
    assert float(length(code, known.shape)) == pytest.approx(expected, rel=1e-4)


def test_a_color_difference_is_the_generator_s_own_for_small_steps(starter, points):
    z, spread = starter.candidates[:1], torch.full((5,), 0.05)
    factor = color_factor(starter.generator, z, spread, points)
    step = 0.01 * torch.randn((1, 5), generator=RANDOM)
    generator = starter.generator
    colors = [generator.decode(generator.planes(generator.map(each)), points[None])[1] for each in (z, z + step)]
    expected = float((colors[1] - colors[0]).square().mean().sqrt())
    assert float(length(step, factor)) == pytest.approx(expected, rel=0.15, abs=1.5e-4)


def truth_of(known, count=3):
    truth = {
        "z": torch.randn((count, 5), generator=RANDOM),
        "shape": torch.randn((count, 4), generator=RANDOM),
        "expression": torch.rand((count, 3), generator=RANDOM),
        "pose": torch.zeros(count, 6),
        "camera": torch.tensor([[0.3, 0.1, 0.0, 0.0, 0.0, 1.0, 1.2]]).repeat(count, 1),
        "light": torch.rand((count, 15), generator=RANDOM),
        "seen": torch.ones(count, 478),
    }
    truth["exact_landmarks"] = project_points(truth["camera"], known.landmarks(truth["shape"], truth["expression"]))
    return truth


def losses_of(starter, known, truth, **moved):
    names = ("z", "shape", "expression", "pose", "camera", "light")
    means = {name: truth[name] + moved.get(name, 0) for name in names}
    spread = {name: torch.full((truth[name].shape[1],), LEAST_SPREAD[name]) for name in names}
    deviations = {name: spread[name].expand_as(means[name]) for name in names}
    return code_losses(Encoding(means, deviations), truth, known=known, generator=starter.generator, spread=spread)


def test_the_truth_costs_nothing(starter, known):
    losses = losses_of(starter, known, truth_of(known))
    assert set(losses) <= set(WEIGHTS)
    assert all(float(value) < 1e-3 for value in losses.values()), losses


def test_a_shifted_camera_costs_its_shift_in_image_widths(starter, known):
    shift = torch.tensor([0.0, 0.0, 0.0, 0.03, 0.04, 0.0, 0.0])
    losses = losses_of(starter, known, truth_of(known), camera=shift)
    # The shift is that of the head's middle; landmarks are up to a tenth of the distance nearer.
    assert 0.05 < float(losses["landmarks"]) < 0.056
    assert float(losses["shape_mm"]) < 1e-3


def test_doubt_is_cheapest_where_it_tells_the_error():
    gap, spread = torch.tensor([[0.3]]), torch.ones(1)
    costs = {value: float(doubt_loss(gap, torch.tensor([[value]]), spread)) for value in (0.1, 0.2, 0.3, 0.45, 0.9)}
    assert min(costs, key=costs.get) == 0.3


def test_doubt_moves_no_answer():
    gap, deviation = torch.ones((1, 1), requires_grad=True), torch.ones((1, 1), requires_grad=True)
    doubt_loss(gap, 2 * deviation, torch.ones(1)).sum().backward()
    assert gap.grad is None and deviation.grad is not None


def test_a_photo_in_other_light_shows_the_same_colors():
    colors = torch.rand((2, 50, 3), generator=RANDOM)
    lit = colors * torch.tensor([0.6, 0.8, 1.2])
    assert float(unlit_gap(colors, lit)) < 1e-6
    assert float(unlit_gap(colors, lit.flip(1))) > 0.1
