# SPDX-License-Identifier: Apache-2.0
"""The layers of a style-based generator: filtered resampling, dense layers and modulated convolutions.

Source:
    Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, arXiv:1912.04958.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["linear", "lrelu", "relu", "softplus", "sigmoid"]
NoiseMode = Literal["const", "random", "none"]

# Keeps the variance of a standard normal input after the activation.
_GAINS: dict[Activation, float] = {
    "linear": 1.0,
    "lrelu": math.sqrt(2),
    "relu": math.sqrt(2),
    "softplus": 1.0,
    "sigmoid": 1.0,
}


def binomial_filter() -> Float[Tensor, "4 4"]:
    """The low-pass filter of every resampling step; it adds up to 1."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) / 64


def upfirdn(
    x: Float[Tensor, "b c h w"],
    fir: Float[Tensor, "kh kw"],
    *,
    up: int = 1,
    down: int = 1,
    pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
) -> Float[Tensor, "b c oh ow"]:
    """Insert zeros, pad, convolve each channel with one filter, drop samples.

    Args:
        x: Any image.
        fir: Filter; it is mirrored, as a convolution asks.
        up: Each sample is followed by this many zeros less one.
        down: Every how many-th sample is kept, from the first one on.
        pad: Zeros at the left, right, top and bottom; negative numbers crop.
        gain: Factor on the result.
    """
    b, c, h, w = x.shape
    if up > 1:
        stuffed = x.new_zeros(b, c, h, up, w, up)
        stuffed[:, :, :, 0, :, 0] = x
        x = stuffed.reshape(b, c, h * up, w * up)
    x = functional.pad(x, pad)
    kernel = (fir * gain).flip((0, 1)).to(x.dtype).expand(c, 1, -1, -1)
    return functional.conv2d(x, kernel, stride=down, groups=c)


def upsample2(x: Float[Tensor, "b c h w"], fir: Float[Tensor, "4 4"]) -> Float[Tensor, "b c oh ow"]:
    """Twice the size, brightness kept."""
    return upfirdn(x, fir, up=2, pad=(2, 1, 2, 1), gain=4.0)


def bias_act(
    x: Float[Tensor, "b c *rest"],
    bias: Float[Tensor, "c"] | None = None,
    *,
    activation: Activation = "linear",
    gain: float = 1.0,
    clamp: float | None = None,
) -> Float[Tensor, "b c *rest"]:
    """Add a bias per channel, activate, scale and clamp.

    Args:
        x: Channels stand second.
        bias: One number per channel.
        activation: ``lrelu`` has a slope of 0.2.
        gain: On top of the activation's own gain.
        clamp: Largest magnitude of the result.
    """
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))
    if activation == "lrelu":
        x = functional.leaky_relu(x, 0.2)
    elif activation == "relu":
        x = functional.relu(x)
    elif activation == "softplus":
        x = functional.softplus(x)
    elif activation == "sigmoid":
        x = x.sigmoid()
    total_gain = _GAINS[activation] * gain
    if total_gain != 1.0:
        x = x * total_gain
    return x if clamp is None else x.clamp(-clamp, clamp)


class FullyConnected(nn.Module):
    """A dense layer whose stored weights have variance 1; they are scaled at use.

    Args:
        in_features: Size of the input.
        out_features: Size of the output.
        activation: Applied with its gain.
        lr_multiplier: Weights and bias are stored larger by its inverse, which slows their training.
        bias: Whether there is one.
        bias_init: Effective bias before training.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: Activation = "linear",
        lr_multiplier: float = 1.0,
        bias: bool = True,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.lr_multiplier = lr_multiplier
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier)) if bias else None

    def forward(self, x: Float[Tensor, "*b in_features"]) -> Float[Tensor, "*b out_features"]:
        """One row per sample."""
        return bias_act(functional.linear(x, *self.effective()), activation=self.activation)

    def effective(self) -> tuple[Float[Tensor, "out_features in_features"], Float[Tensor, "out_features"] | None]:
        """Weight and bias as they are used."""
        weight = self.weight * (self.lr_multiplier / math.sqrt(self.weight.shape[1]))
        return weight, None if self.bias is None else self.bias * self.lr_multiplier


def modulated_conv(
    x: Float[Tensor, "b in_c h w"],
    weight: Float[Tensor, "out_c in_c k k"],
    style: Float[Tensor, "b in_c"],
    *,
    fir: Float[Tensor, "4 4"] | None = None,
    demodulate: bool = True,
) -> Float[Tensor, "b out_c oh ow"]:
    """Convolve with a weight that a style scales per input channel, one style per sample.

    A single sample takes its scales into the weight; a batch shares one convolution between a scaled input and
    a scaled output. Both are the same sum.

    Args:
        x: Features.
        weight: Shared by the batch; `k` is odd.
        style: Factor per input channel.
        fir: When given, the result has twice the size and is filtered with it.
        demodulate: Scale every output channel's weights to length 1.
    """
    scale = _demodulation(weight, style) if demodulate else None
    if len(x) == 1:
        weight = weight * style[0, :, None, None]
        if scale is not None:
            weight = weight * scale[0, :, None, None, None]
        return _convolve(x, weight, fir)
    x = _convolve(x * style[:, :, None, None], weight, fir)
    return x if scale is None else x * scale[:, :, None, None]


def _demodulation(weight: Float[Tensor, "out_c in_c k k"], style: Float[Tensor, "b in_c"]) -> Float[Tensor, "b out_c"]:
    power = weight.square().sum((2, 3))
    return (style.square() @ power.T + 1e-8).rsqrt()


def _convolve(
    x: Float[Tensor, "b in_c h w"], weight: Float[Tensor, "out_c in_c k k"], fir: Float[Tensor, "4 4"] | None
) -> Float[Tensor, "b out_c oh ow"]:
    if fir is None:
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
    # The transposed convolution mirrors the kernel against the plain one; published weights are trained so.
    x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return upfirdn(x, fir, pad=(1, 1, 1, 1), gain=4.0)


class SynthesisLayer(nn.Module):
    """Style, 3x3 modulated convolution, noise, bias and leaky ReLU.

    Args:
        in_channels: Of the input features.
        out_channels: Of the output features.
        w_dim: Size of a row of `ws`.
        resolution: Side of the output, pixels.
        upsample: Whether the input has half that side.
        clamp: Largest magnitude of the output; None for no limit.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        upsample: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", binomial_filter())

    def forward(
        self,
        x: Float[Tensor, "b in_c h w"],
        w: Float[Tensor, "b w_dim"],
        *,
        noise: NoiseMode = "const",
        gain: float = 1.0,
    ) -> Float[Tensor, "b out_c oh ow"]:
        """Features of this layer; `gain` multiplies them and their clamp."""
        fir = self.resample_filter if self.upsample else None
        x = modulated_conv(x, self.weight, self.affine(w), fir=fir)
        if noise == "const":
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        elif noise == "random":
            x = x + torch.randn_like(x[:, :1]) * self.noise_strength
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, self.bias, activation="lrelu", gain=gain, clamp=clamp)


class ToRGB(nn.Module):
    """Style and 1x1 modulated convolution to image or plane channels.

    Args:
        in_channels: Of the features.
        out_channels: Of the image.
        w_dim: Size of a row of `ws`.
        clamp: Largest magnitude of the output; None for no limit.
    """

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Float[Tensor, "b in_c h w"], w: Float[Tensor, "b w_dim"]) -> Float[Tensor, "b out_c h w"]:
        """The image of a layer's features."""
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        x = modulated_conv(x, self.weight, style, demodulate=False)
        return bias_act(x, self.bias, clamp=self.clamp)
