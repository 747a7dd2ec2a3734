# SPDX-License-Identifier: Apache-2.0
"""The first branch: which head reads what, and how."""

import pytest
import torch

from backend.encoder.config import BodyConfig, StyleEncoderConfig
from backend.encoder.layout import shapes_of
from backend.encoder.styles import StyleEncoder, StyleHead, read_style_config

SMALL = StyleEncoderConfig(BodyConfig(stem=16, widths=(16, 16, 32, 48)), w_dim=20, halvings=(2,) * 3 + (3,) * 4 + (4,))


@pytest.fixture(scope="module")
def encoder() -> StyleEncoder:
    return StyleEncoder(SMALL).eval().requires_grad_(False)


def test_three_heads_read_deep_features_four_middle_ones_and_the_rest_fine_ones(encoder):
    sides = []
    hooks = [head.register_forward_pre_hook(lambda _, x: sides.append(x[0].shape[-1])) for head in encoder.styles]
    codes = encoder(torch.randn(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    assert sides == [4] * 3 + [8] * 4 + [16]
    assert codes.shape == (1, 8, 20)


def test_features_go_up_with_their_corners_kept(encoder):
    inputs = {}
    hook = encoder.styles[3].register_forward_pre_hook(lambda _, x: inputs.update(middle=x[0]))
    deep = encoder.styles[0].register_forward_pre_hook(lambda _, x: inputs.update(deep=x[0]))
    silent = {key: torch.zeros_like(value) for key, value in encoder.latlayer1.state_dict().items()}
    kept = {key: value.clone() for key, value in encoder.latlayer1.state_dict().items()}
    encoder.latlayer1.load_state_dict(silent)
    encoder(torch.randn(1, 3, 64, 64))
    encoder.latlayer1.load_state_dict(kept)
    hook.remove()
    deep.remove()
    corners = [0, 0, -1, -1], [0, -1, 0, -1]
    torch.testing.assert_close(inputs["middle"][:, :, *corners], inputs["deep"][:, :, *corners])


def test_a_head_ends_in_a_dense_layer_scaled_by_its_inputs():
    head = StyleHead(8, 16, halvings=1).requires_grad_(False)
    head.convs[0].weight.zero_()
    head.convs[0].bias.fill_(-1.0)
    head.linear.weight.fill_(1.0)
    head.linear.bias.fill_(0.5)
    # Leaky ReLU leaves -0.01 in each of 16 channels; the weights count 1 / sqrt(16).
    torch.testing.assert_close(head(torch.randn(2, 8, 2, 2)), torch.full((2, 16), -0.01 * 16 / 4 + 0.5))


def test_sizes_are_read_from_shapes(encoder):
    assert read_style_config(shapes_of(encoder)) == SMALL
