# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch.nn import functional

from backend.generator.layers import (
    FullyConnected,
    SynthesisLayer,
    ToRGB,
    bias_act,
    binomial_filter,
    modulated_conv,
    modulated_sum,
    upfirdn,
    upsample2,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def upfirdn_by_hand(x, fir, up, down, pad):
    """One image, one output pixel at a time."""
    h, w = x.shape
    stuffed = torch.zeros(h * up, w * up)
    stuffed[::up, ::up] = x
    padded = functional.pad(stuffed, pad)
    rows, columns = (n - k + 1 for n, k in zip(padded.shape, fir.shape, strict=True))
    out = torch.zeros(rows, columns)
    for row in range(rows):
        for column in range(columns):
            for i in range(fir.shape[0]):
                for j in range(fir.shape[1]):
                    out[row, column] += fir[-1 - i, -1 - j] * padded[row + i, column + j]
    return out[::down, ::down]


@pytest.mark.parametrize(("up", "down", "pad"), [(1, 1, (1, 2, 0, 1)), (2, 1, (2, 1, 2, 1)), (1, 2, (-1, 2, 1, 0))])
def test_upfirdn_is_the_convolution_written_out(up, down, pad):
    x, fir = torch.randn(1, 1, 5, 6), torch.randn(3, 4)
    expected = upfirdn_by_hand(x[0, 0], fir, up, down, pad)
    torch.testing.assert_close(upfirdn(x, fir, up=up, down=down, pad=pad)[0, 0], expected)


def test_the_filter_keeps_a_constant():
    x = torch.full((1, 2, 8, 8), 3.0)
    filtered = upfirdn(x, binomial_filter())
    torch.testing.assert_close(filtered, torch.full_like(filtered, 3.0))
    inner = upsample2(x, binomial_filter())[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 3.0))


def test_upsampling_is_upfirdn_and_interpolation():
    x, fir = torch.randn(2, 3, 7, 5), binomial_filter()
    doubled = upsample2(x, fir)
    torch.testing.assert_close(doubled, upfirdn(x, fir, up=2, pad=(2, 1, 2, 1), gain=4))
    linear = functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(doubled[:, :, 1:-1, 1:-1], linear[:, :, 1:-1, 1:-1])


def test_leaky_relu_keeps_the_power_of_a_normal_input():
    y = bias_act(torch.randn(1, 200_000), activation="lrelu")
    # E[lrelu(x)^2] = (1 + 0.2^2) / 2, times the gain squared.
    assert math.isclose(float(y.square().mean()), 1.04, rel_tol=0.02)


def test_clamp_limits_magnitude():
    y = bias_act(torch.randn(4, 3, 5), torch.zeros(3), gain=10.0, clamp=2.0)
    assert y.abs().max() == 2.0


def test_fully_connected_starts_at_unit_power_for_any_multiplier():
    x = torch.randn(2000, 64)
    for multiplier in (1.0, 0.01):
        layer = FullyConnected(64, 256, lr_multiplier=multiplier, bias_init=3.0)
        y = layer(x).detach()
        assert math.isclose(float(y.mean()), 3.0, rel_tol=0.02)
        assert math.isclose(float(y.std()), 1.0, rel_tol=0.05)


def modulated_conv_by_hand(x, weight, style, fir):
    """Sample by sample, with each sample's own scaled weight."""
    samples = []
    for features, factors in zip(x, style, strict=True):
        own = weight * factors[None, :, None, None]
        own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if fir is None:
            samples.append(functional.conv2d(features[None], own, padding=1))
        else:
            spread = functional.conv_transpose2d(features[None], own.transpose(0, 1), stride=2)
            samples.append(upfirdn(spread, fir, pad=(1, 1, 1, 1), gain=4.0))
    return torch.cat(samples)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("fir", [None, binomial_filter()], ids=["same size", "upsampling"])
def test_modulated_conv_is_one_convolution_per_sample(batch, fir):
    x, weight, style = torch.randn(batch, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.randn(batch, 4)
    bias = torch.randn(5)
    expected = 1.7 * modulated_conv_by_hand(x, weight, style, fir) + bias[:, None, None]
    result = modulated_conv(x, weight, style, bias=bias, fir=fir, gain=1.7)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_modulated_sum_is_one_matrix_per_sample():
    x, weight, style, bias = torch.randn(2, 4, 3, 5), torch.randn(6, 4, 1, 1), torch.randn(2, 4), torch.randn(6)
    expected = torch.einsum("oi,bi,bihw->bohw", weight[:, :, 0, 0], style, x) + bias[:, None, None]
    torch.testing.assert_close(modulated_sum(x, weight, style, bias), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_scaling_a_style_changes_nothing_after_demodulation(batch):
    x, weight, style = torch.randn(batch, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.randn(batch, 4)
    torch.testing.assert_close(
        modulated_conv(x, weight, style), modulated_conv(x, weight, 7 * style), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_synthesis_layer_is_its_parts_in_order(batch):
    layer = SynthesisLayer(4, 5, w_dim=6, resolution=8, clamp=0.7)
    with torch.no_grad():
        layer.noise_strength.fill_(0.3)
        layer.bias.normal_()
    x, w = torch.randn(batch, 4, 8, 8), torch.randn(batch, 6)
    plain = modulated_conv_by_hand(x, layer.weight, layer.affine(w), None) + 0.3 * layer.noise_const
    for gain in (1.0, 0.5):
        expected = bias_act(plain, layer.bias, activation="lrelu", gain=gain, clamp=0.7 * gain)
        torch.testing.assert_close(layer(x, w, gain=gain), expected, rtol=1e-4, atol=1e-5)


def test_random_noise_differs_and_no_noise_is_repeatable():
    layer = SynthesisLayer(4, 5, w_dim=6, resolution=8)
    with torch.no_grad():
        layer.noise_strength.fill_(1.0)
    x, w = torch.randn(1, 4, 8, 8), torch.randn(1, 6)
    assert not torch.equal(layer(x, w, noise="random"), layer(x, w, noise="random"))
    assert torch.equal(layer(x, w, noise="none"), layer(x, w, noise="none"))


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_of_a_layer_are_those_of_finite_differences(batch):
    layer = SynthesisLayer(2, 3, w_dim=2, resolution=4, upsample=True, clamp=5.0).double()
    x = torch.randn(batch, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    w = torch.randn(batch, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x, w))


def test_to_rgb_has_the_power_of_one_channel():
    layer = ToRGB(400, 3, w_dim=8)
    with torch.no_grad():
        layer.affine.weight.zero_()
    y = layer(torch.randn(1, 400, 64, 64), torch.zeros(1, 8)).detach()
    assert math.isclose(float(y.std()), 1.0, rel_tol=0.15)
