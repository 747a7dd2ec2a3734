# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.generator.synthesis import SynthesisNetwork, channel_table, num_ws_of


def make(resolution=16):
    torch.manual_seed(2)
    channels = channel_table(resolution, base=64, largest=8)
    return SynthesisNetwork(w_dim=5, resolution=resolution, image_channels=3, channels=channels).requires_grad_(False)


def test_published_sizes():
    table = channel_table(256, base=32768, largest=512)
    assert table == {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}
    assert [num_ws_of(side) for side in (32, 64, 128, 256)] == [8, 10, 12, 14]


def test_only_powers_of_two_are_sides():
    with pytest.raises(ValueError, match="power of two"):
        channel_table(48, base=64, largest=8)


def test_a_batch_is_its_samples():
    network = make()
    ws = torch.randn(3, network.num_ws, 5)
    alone = torch.cat([network(row[None]) for row in ws])
    torch.testing.assert_close(network(ws), alone, rtol=1e-4, atol=1e-4)


def test_each_row_of_ws_reaches_the_output():
    network = make()
    ws = torch.randn(1, network.num_ws, 5)
    before = network(ws)
    for row in range(network.num_ws):
        moved = ws.clone()
        moved[:, row] += 1
        assert (network(moved) - before).abs().max() > 1e-4


def test_the_last_row_moves_the_image_only_through_the_last_sum():
    network = make()
    ws = torch.randn(2, network.num_ws, 5)
    changed = ws.clone()
    changed[:, -1] = 0
    last = network.b16.torgb
    features = {}
    last.register_forward_hook(lambda module, inputs, output: features.update(x=inputs[0]))
    difference = network(ws) - network(changed)
    expected = last(features["x"], ws[:, -1]) - last(features["x"], changed[:, -1])
    torch.testing.assert_close(difference, expected, rtol=1e-3, atol=1e-4)
