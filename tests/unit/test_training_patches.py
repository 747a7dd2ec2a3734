# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.camera import project
from backend.generator.starter import SHARPNESS_M
from backend.training.patches import (
    BAND_M,
    COARSE_WEIGHT,
    PatchBatch,
    PatchConfig,
    Patches,
    pixel_losses,
    render_patches,
)
from tests.small_pictures import CAMERA, plain_picture, small_pictures
from tests.small_starter import egg_distance, plain_head, small_generator

CONFIG = PatchConfig(patch_px=8, samples=6)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered_picture(size=16):
    """Red tells the row, green the column."""
    row, column = np.indices((size, size))
    return plain_picture(np.stack([10 * row, 10 * column, 0 * row], axis=-1), size)


def test_samples_of_a_pixel_lie_on_its_ray_around_the_surface():
    batch = Patches([[numbered_picture()]], CONFIG).draw(torch.tensor([0]), chance())
    rows, columns = (batch.color[0, channel].flatten() * 255 / 10 for channel in (0, 1))
    points = batch.points[0].double().numpy()
    for sample in range(CONFIG.samples):
        image, _ = project(CAMERA, points[:, sample])
        np.testing.assert_allclose(image[:, 0], (columns + 0.5) / 16, atol=1e-4)
        np.testing.assert_allclose(image[:, 1], (rows + 0.5) / 16, atol=1e-4)
    along = np.linalg.norm(points - CAMERA.position, axis=-1) - np.linalg.norm(CAMERA.position)
    assert (np.diff(along, axis=1) > 0).all() and np.abs(along).max() <= BAND_M + 1e-6
    spacing = batch.spacing[0].double().numpy()
    np.testing.assert_allclose(spacing[:, :-1], np.diff(along, axis=1), atol=1e-6)
    np.testing.assert_allclose(spacing[:, -1], BAND_M - along[:, -1], atol=1e-6)


def test_patches_lie_where_it_counts():
    weight = np.zeros((16, 16), np.uint8)
    weight[12, 5] = 1
    patches = Patches([[replace(numbered_picture(), weight=weight)]], CONFIG)
    for seed in range(5):
        batch = patches.draw(torch.tensor([0]), chance(seed))
        corner = batch.color[0, :2, 0, 0] * 25.5
        np.testing.assert_allclose(corner, [8, 1], atol=1e-3)  # As near as the picture's edge allows.
        assert batch.weight.sum() == 1


def test_a_picture_without_any_head_is_drawn_from_all_the_same():
    empty = np.zeros((16, 16), np.uint8)
    batch = Patches([[replace(plain_picture(9), weight=empty, inside=empty)]], CONFIG).draw(torch.tensor([0]), chance())
    assert all(value == 0 for value in pixel_losses(batch.color + 1, batch).values())
    np.testing.assert_allclose(batch.color[0, :, 3, 3], batch.background[0, 0])


def test_views_of_the_chosen_heads_are_drawn():
    pictures = [[plain_picture(10 * head + view) for view in range(2)] for head in range(4)]
    config = replace(CONFIG, patches_per_head=2)
    seen = set()
    for seed in range(12):
        batch = Patches(pictures, config).draw(torch.tensor([3, 1]), chance(seed))
        shades = (batch.color[:, 0, 0, 0] * 255).round().int().tolist()
        assert [shade // 10 for shade in shades] == [3, 3, 1, 1]
        assert batch.points.shape == (2, 2 * 64, 6, 3)
        seen |= set(shades)
    assert seen == {10, 11, 30, 31}


def test_a_ray_is_mixed_as_its_samples_say_one_after_another():
    generator = small_generator(bald=False)
    heads = generator.planes(generator.map(torch.randn((1, 5), generator=chance())))
    batch = Patches(small_pictures(), CONFIG).draw(torch.tensor([1]), chance())
    with torch.no_grad():
        made = render_patches(generator, heads, batch)
        for ray in (0, 27, 63):
            outer, color = generator.decode(heads, batch.points[:, ray])
            body = generator.body_distance(batch.points[0, ray])
            light, expected = 1.0, torch.zeros(3)
            for sample in range(CONFIG.samples):
                beyond = float(batch.points[0, ray, sample].abs().max()) - generator.config.side / 2
                distance = max(min(float(body[sample]), float(outer[0, sample])), beyond)
                density = 1 / (1 + math.exp(distance / SHARPNESS_M)) / SHARPNESS_M
                kept = math.exp(-density * float(batch.spacing[0, ray, sample]))
                expected += light * (1 - kept) * color[0, sample]
                light *= kept
            expected += light * batch.background[0, 0]
            torch.testing.assert_close(made[0, :, ray // 8, ray % 8], expected, atol=1e-4, rtol=1e-4)


def test_a_generator_that_knows_the_truth_shows_the_picture(monkeypatch):
    """Head 0 is bald: above its top nothing but the egg is seen, whose colour the stand-in for the decoder tells."""
    generator = small_generator()
    picture = small_pictures()[0][0]
    batch = Patches([[picture]], replace(CONFIG, samples=24)).draw(torch.tensor([0]), chance(3))
    truth = batch.color.permute(0, 2, 3, 1).reshape(1, -1, 1, 3).expand(1, -1, 24, 3).flatten(1, 2)

    def decode(_, points):
        top = torch.from_numpy(np.maximum(egg_distance(points.numpy()) - 0.004, points[..., 1].numpy() + 0.06))
        return top.float(), truth

    heads = plain_head(generator)
    monkeypatch.setattr(generator, "decode", decode)
    losses = pixel_losses(render_patches(generator, heads, batch), batch)
    assert losses["pixel"] < 0.02
    wrong = pixel_losses(render_patches(generator, heads, replace(batch, background=1 - batch.background)), batch)
    assert wrong["pixel"] > losses["pixel"]


def test_a_surface_too_deep_shows_the_background():
    generator = small_generator()
    batch = Patches([[plain_picture(0)]], CONFIG).draw(torch.tensor([0]), chance())
    far = replace(batch, points=batch.points * 0 + torch.tensor([0.0, 0.19, 0.19]))
    heads = plain_head(generator)
    with torch.no_grad():
        made = render_patches(generator, heads, far)
    torch.testing.assert_close(made[0, :, 2, 5], batch.background[0, 0], atol=1e-3, rtol=0)


def batch_of(color, weight):
    nothing = torch.zeros((1, 1, 1))
    return PatchBatch(nothing[..., None].expand(-1, -1, -1, 3), nothing, nothing.expand(-1, -1, 3), color, weight)


def test_losses_of_known_errors():
    batch = batch_of(torch.full((2, 3, 8, 8), 0.5), torch.ones((2, 1, 8, 8)))
    even = pixel_losses(batch.color + 0.1, batch)
    assert even["pixel"] == pytest.approx(0.1) and even["edge"] == pytest.approx(0, abs=1e-6)
    assert even["coarse"] == pytest.approx(2 * COARSE_WEIGHT * 0.1)
    board = 0.1 * (2.0 * (torch.arange(8)[:, None] + torch.arange(8)).remainder(2) - 1)
    chequered = pixel_losses(batch.color + board, batch)
    assert chequered["pixel"] == pytest.approx(0.1) and chequered["edge"] == pytest.approx(0.2)
    assert chequered["coarse"] == pytest.approx(0, abs=1e-6)


def test_what_does_not_count_costs_nothing_and_what_counts_more_costs_more():
    weight = torch.ones((1, 1, 8, 8))
    weight[..., :4] = 3
    batch = batch_of(torch.zeros((1, 3, 8, 8)), weight)
    left, right = torch.zeros((1, 3, 8, 8)), torch.zeros((1, 3, 8, 8))
    left[..., :4], right[..., 4:] = 0.1, 0.1
    ratio = pixel_losses(left, batch)["pixel"] / pixel_losses(right, batch)["pixel"]
    assert ratio == pytest.approx(3)
    weight[..., 4:] = 0
    assert pixel_losses(right, batch)["pixel"] == 0


def test_the_gradient_moves_a_surface_towards_the_truth():
    """The outer surface lies too deep, so that the background shines through a head that is all white."""
    generator = small_generator(distance=lambda points: egg_distance(points) + 0.05)
    picture = replace(plain_picture(255), depth=np.full((16, 16), -0.02, np.float16))
    batch = Patches([[picture]], CONFIG).draw(torch.tensor([0]), chance())
    batch = replace(batch, background=torch.zeros((1, 1, 3)), color=torch.ones_like(batch.color))
    heads = plain_head(generator)
    outer = torch.full((1, batch.points.shape[1] * CONFIG.samples), 0.001, requires_grad=True)
    generator.decode = lambda *_: (outer, torch.ones((*outer.shape, 3)))
    pixel_losses(render_patches(generator, heads, batch), batch)["pixel"].backward()
    assert (outer.grad >= 0).all() and outer.grad.sum() > 0
