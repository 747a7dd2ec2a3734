# SPDX-License-Identifier: Apache-2.0
"""The second branch: how features go up, and what each version looks at."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from backend.encoder.config import BodyConfig, PlaneEncoderConfig
from backend.encoder.layout import shapes_of
from backend.encoder.planes import PlaneEncoder, Up, read_plane_config

SMALL = PlaneEncoderConfig(BodyConfig(6, 16, (16, 16, 16, 16)), ups=(16, 16, 16, 8), planes=6)
VERSIONS = [
    SMALL,
    replace(SMALL, shuffles_pixels=False),
    replace(SMALL, body=BodyConfig(9, 16, (16, 16, 16, 16)), reads_planes=True),
    replace(SMALL, body=BodyConfig(9, 16, (16, 16, 16, 16)), reads_planes=True, shuffles_pixels=False),
]


def _encoder(config: PlaneEncoderConfig) -> PlaneEncoder:
    torch.manual_seed(0)
    return PlaneEncoder(config).eval().requires_grad_(False)


@pytest.mark.parametrize("config", VERSIONS)
def test_sizes_and_version_are_read_from_shapes(config):
    assert read_plane_config(shapes_of(_encoder(config))) == config


@pytest.mark.parametrize("config", VERSIONS)
def test_only_the_second_version_looks_at_the_planes(config):
    encoder = _encoder(config)
    pictures, planes = torch.randn(1, config.body.in_channels, 32, 32), torch.randn(1, 6, 32, 32)
    offset = encoder(pictures, planes)
    assert offset.shape == planes.shape
    assert torch.equal(offset, encoder(pictures, 2 * planes)) != config.reads_planes


@pytest.mark.parametrize("config", VERSIONS)
def test_the_second_versions_last_layers_see_planes_before_features(config):
    encoder = _encoder(config)
    head = encoder.final_head_two if config.reads_planes else encoder.final_head
    head[0].weight.zero_()
    if config.reads_planes:
        for channel in range(6):
            head[0].weight[channel, channel, 1, 1] = 1.0
    seen = []
    head[0].register_forward_hook(lambda layer, _, out: seen.append(out - layer.bias[:, None, None]))
    planes = torch.randn(1, 6, 32, 32)
    encoder(torch.randn(1, config.body.in_channels, 32, 32), planes)
    torch.testing.assert_close(seen[0], planes if config.reads_planes else torch.zeros_like(planes))


def test_features_are_enlarged_by_moving_channels_or_by_repeating_pixels():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
    shuffled = _encoder(SMALL)._enlarged(x)
    torch.testing.assert_close(shuffled, torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    torch.testing.assert_close(_encoder(VERSIONS[1])._enlarged(x), x.expand(-1, -1, 2, 2))


def test_the_trunks_features_come_before_the_enlarged_ones():
    up = Up(2, 1, 1).eval().requires_grad_(False)
    layers = up.conv.double_conv
    for index, picked in ((1, 2), (3, 0)):
        layers[index].weight.zero_()
        layers[index].weight[0, picked, 1, 1] = 1.0
        layers[index].bias.zero_()
    skip, x = torch.rand(1, 2, 4, 4), torch.rand(1, 1, 4, 4)
    # Batch norm with fresh statistics divides by sqrt(1 + 1e-5); positive values pass the activations.
    torch.testing.assert_close(up(skip, x), x / (1 + 1e-5) ** 0.5)


def test_the_last_activation_counts_twice():
    up = Up(1, 1, 1).eval().requires_grad_(False)
    layers = up.conv.double_conv
    layers[3].weight.zero_()
    layers[3].bias.fill_(-1.0)
    for index in (4, 5):
        layers[index].weight.fill_(0.5)
    torch.testing.assert_close(up(*torch.rand(2, 1, 1, 4, 4)), torch.full((1, 1, 4, 4), -0.25))


def test_pixels_far_from_a_change_stay():
    encoder = _encoder(SMALL)
    head = torch.nn.Sequential(*encoder.final_head)
    x = torch.zeros(1, 2, 16, 16)
    changed = functional.pad(torch.ones(1, 2, 1, 1), (0, 15, 0, 15))
    difference = (head(x + changed) - head(x)).abs().sum(1)[0]
    assert difference[:3, :3].max() > 0
    assert difference[3:].max() == 0
