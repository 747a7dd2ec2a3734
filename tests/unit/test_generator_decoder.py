# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from backend.generator.decoder import Decoder


def make(**changes):
    torch.manual_seed(7)
    return Decoder(4, **({"hidden": 8, "outputs": 5} | changes)).requires_grad_(False)


@pytest.mark.parametrize("multiplier", [1.0, 0.5])
def test_the_decoder_is_two_scaled_layers_with_a_softplus_between(multiplier):
    decoder, features = make(lr_multiplier=multiplier), torch.randn(10, 4)
    for layer in (decoder.net[0], decoder.net[2]):
        layer.bias.normal_()
    first, last = decoder.net[0], decoder.net[2]
    hidden = features @ first.weight.T * multiplier / 2 + first.bias * multiplier
    hidden = torch.log1p(hidden.exp())
    output = hidden @ last.weight.T * multiplier / math.sqrt(8) + last.bias * multiplier
    raw, colors = decoder(features)
    torch.testing.assert_close(raw, output[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(colors, 1.002 / (1 + (-output[:, 1:]).exp()) - 0.001, rtol=1e-4, atol=1e-5)


def test_density_and_colour_alone_are_parts_of_the_whole():
    decoder, features = make(), torch.randn(2, 10, 4)
    raw, colors = decoder(features)
    torch.testing.assert_close(decoder.raw_density(features), raw)
    torch.testing.assert_close(decoder.rgb(features), colors[..., :3])


def test_colours_reach_black_and_white():
    decoder = make()
    decoder.net[2].bias[1:3] = torch.tensor([-100.0, 100.0])
    _, colors = decoder(torch.zeros(1, 4))
    assert colors[0, 0] < 0
    assert colors[0, 1] > 1
