# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from backend.camera import look_at_camera
from backend.generator.config import GeneratorConfig, RenderConfig, SuperResolutionConfig
from backend.generator.plane_generator import PlaneField, PlaneGenerator

SMALL = {
    "z_dim": 6,
    "w_dim": 8,
    "channel_base": 128,
    "channel_max": 8,
    "plane_resolution": 16,
    "plane_channels": 4,
    "decoder_hidden": 8,
    "decoder_outputs": 5,
    "render": RenderConfig(coarse_samples=6, fine_samples=6),
    "superresolution": SuperResolutionConfig(input_resolution=8, channels=(6, 4)),
}


def make(**changes):
    torch.manual_seed(6)
    return PlaneGenerator(GeneratorConfig(**(SMALL | changes))).requires_grad_(False)


def cameras(*yaws_deg):
    views = [look_at_camera(yaw_deg=yaw, pitch_deg=0, distance=2.7, focal=4.26) for yaw in yaws_deg]
    return tuple(
        torch.from_numpy(np.stack([getattr(view, name) for view in views])).float()
        for name in ("cam2world", "intrinsics")
    )


def codes(generator, batch=1):
    return generator.make_ws(torch.randn(batch, 6), torch.randn(batch, 25))


@pytest.mark.parametrize(
    "changes",
    [{}, {"plane_depth": 3, "plane_axes": "corrected"}, {"render": RenderConfig(near=None, far=None, fine_samples=4)}],
    ids=["tri-plane", "tri-grid", "cube limits"],
)
def test_images_have_the_configured_sizes(changes):
    generator = make(**changes)
    images = generator(codes(generator, 2), *cameras(0, 30), size_px=8)
    assert images.image.shape == (2, 3, 32, 32)
    assert images.image_raw.shape == (2, 3, 8, 8)
    assert images.depth.shape == images.opacity.shape == (2, 1, 8, 8)
    assert images.image.isfinite().all()


def test_without_superresolution_the_raw_image_is_the_image():
    generator = make(superresolution=None)
    images = generator(codes(generator), *cameras(0), size_px=8)
    assert torch.equal(images.image, images.image_raw)


def test_the_label_is_ignored_when_its_scale_is_zero():
    generator, z = make(conditioning_scale=0.0), torch.randn(1, 6)
    assert torch.equal(generator.make_ws(z, torch.randn(1, 25)), generator.make_ws(z, torch.zeros(1, 25)))


@pytest.mark.parametrize("is_white", [True, False])
def test_an_empty_scene_shows_the_background(is_white):
    generator = make(render=RenderConfig(coarse_samples=6, fine_samples=6, white_back=is_white))
    generator.decoder.net[2].bias[0] = -1000.0
    images = generator(codes(generator), *cameras(0), size_px=8)
    assert torch.equal(images.image_raw, torch.full_like(images.image_raw, 1.0 if is_white else -1.0))


def test_a_field_is_the_activated_decoder_in_any_chunks():
    generator = make()
    ws = codes(generator)
    planes = generator.make_planes(ws)
    points = torch.rand(50, 3) - 0.5
    raw, colors = generator.raw_field(planes, points[None])
    for size in (7, 50, 1000):
        field = PlaneField(generator, planes, ws, points_per_chunk=size)
        torch.testing.assert_close(field.density(points), torch.nn.functional.softplus(raw[0] - 1))
        torch.testing.assert_close(field.color(points), colors[0, :, :3].clamp(0, 1))


def test_the_level_is_the_published_one_after_activation():
    generator = make(raw_level=10.0)
    assert math.isclose(generator.field(codes(generator)).level, math.log1p(math.exp(9.0)), rel_tol=1e-9)


def test_no_points_have_no_density():
    generator = make()
    assert generator.field(codes(generator)).density(torch.zeros(0, 3)).shape == (0,)


def test_a_plane_offset_moves_the_field_and_takes_gradients():
    generator = make()
    ws, points = codes(generator), torch.rand(20, 3) - 0.5
    offset = torch.zeros(1, 3, 4, 16, 16, requires_grad=True)
    field = generator.field(ws, offset)
    torch.testing.assert_close(field.density(points).detach(), generator.field(ws).density(points))
    field.density(points).sum().backward()
    assert offset.grad is not None
    assert offset.grad.abs().sum() > 0


def test_the_defaults_are_the_published_sizes():
    with torch.device("meta"):
        generator = PlaneGenerator(GeneratorConfig())
    state = generator.state_dict()
    assert len(state) == 176
    assert round(sum(value.numel() for value in state.values()) / 1e6, 1) == 31.5
