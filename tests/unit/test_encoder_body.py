# SPDX-License-Identifier: Apache-2.0
"""The trunk of the encoders: known answers of its units, and what its stages do to a picture."""

import pytest
import torch

from backend.encoder.body import STAGE_ENDS, Body, ChannelGate, ResidualUnit, read_body_config
from backend.encoder.config import BodyConfig
from backend.encoder.layout import shapes_of
from backend.errors import ModelError

SMALL = BodyConfig(in_channels=2, stem=16, widths=(16, 32, 32, 48))


def test_a_gate_without_weights_halves_its_input():
    gate = ChannelGate(32)
    torch.nn.init.zeros_(gate.fc2.weight)
    x = torch.randn(2, 32, 3, 3)
    torch.testing.assert_close(gate(x), x / 2)


def test_a_gate_reads_means_over_the_picture():
    gate = ChannelGate(16)
    with torch.no_grad():
        gate.fc1.weight.fill_(1 / 16)
        gate.fc2.weight.fill_(1.0)
    x = torch.arange(16.0).reshape(1, 16, 1, 1).expand(1, 16, 2, 2)
    torch.testing.assert_close(gate(x), x * torch.sigmoid(torch.tensor(7.5)))
    torch.testing.assert_close(gate(-x), -x / 2)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_whose_convolutions_are_silent_only_drops_pixels(stride):
    unit = ResidualUnit(16, 16, stride=stride).eval()
    torch.nn.init.zeros_(unit.res_layer[3].weight)
    x = torch.randn(1, 16, 6, 6)
    torch.testing.assert_close(unit(x), x[:, :, ::stride, ::stride])


def test_a_unit_that_changes_the_channels_has_a_convolution_beside_it():
    assert ResidualUnit(16, 16, stride=2).shortcut_layer is None
    unit = ResidualUnit(16, 32, stride=2).eval()
    torch.nn.init.zeros_(unit.res_layer[3].weight)
    x = torch.randn(1, 16, 6, 6)
    torch.testing.assert_close(unit(x), unit.shortcut_layer(x))


def test_each_stage_halves_the_side():
    features = Body(SMALL).eval().features_after(torch.randn(1, 2, 32, 32), STAGE_ENDS)
    assert [tuple(x.shape[1:]) for x in features] == [(16, 16, 16), (32, 8, 8), (32, 4, 4), (48, 2, 2)]


def test_pictures_of_a_batch_do_not_meet():
    body, pictures = Body(SMALL).eval(), torch.randn(2, 2, 32, 32)
    together = body.features_after(pictures, STAGE_ENDS[-1:])[0]
    alone = body.features_after(pictures[1:], STAGE_ENDS[-1:])[0]
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_sizes_are_read_from_shapes():
    assert read_body_config(shapes_of(Body(SMALL))) == SMALL


def test_other_networks_are_refused_by_name():
    with pytest.raises(ModelError, match=r"input_layer\.0\.weight is missing"):
        read_body_config({"features.0.weight": (64, 3, 3, 3)})
    with pytest.raises(ModelError, match=r"has the shape \[64, 3\]"):
        read_body_config({"input_layer.0.weight": (64, 3)})
