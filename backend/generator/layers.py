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
    """Twice the size, brightness kept, zeros around the image; the filter must be symmetric.

    The same as `upfirdn` with its zeros never written.
    """
    kernel = (4 * fir).to(x.dtype).expand(x.shape[1], 1, -1, -1)
    return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def fast_layout(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The same image with its channels next to each other in memory, where convolutions are faster so."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


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
    weight: Float[Tensor, "out_c in_c 3 3"],
    style: Float[Tensor, "b in_c"],
    *,
    bias: Float[Tensor, "out_c"] | None = None,
    fir: Float[Tensor, "4 4"] | None = None,
    gain: float = 1.0,
) -> Float[Tensor, "b out_c oh ow"]:
    """Convolve with a weight that a style scales per input channel and whose output channels have length 1.

    A single sample takes its scales into the weight; a batch shares one convolution between a scaled input and
    a scaled output. Both are the same sum.

    Args:
        x: Features.
        weight: Shared by the batch.
        style: Factor per input channel, one row per sample.
        bias: Added at the end.
        fir: When given, the result has twice the size and is filtered with it.
        gain: Factor on the result before the bias.
    """
    scale = gain * _demodulation(weight, style)
    if len(x) == 1:
        weight = weight * style[0, :, None, None] * scale[0, :, None, None, None]
        return convolve(x, weight, bias=bias, fir=fir)
    if x.dtype == torch.float16:
        # Sums overflow at 65504; demodulation lets weight and style be made small before and the result large after.
        largest, length = style.abs().amax(1, keepdim=True), math.sqrt(weight[0].numel())
        style, weight, scale = style / largest, weight / length, scale * largest * length
    x = convolve(x * style[:, :, None, None].to(x.dtype), weight, fir=fir)
    scale = scale[:, :, None, None].to(x.dtype)
    return x * scale if bias is None else torch.addcmul(bias[:, None, None].to(x.dtype), x, scale)


def modulated_sum(
    x: Float[Tensor, "b in_c h w"],
    weight: Float[Tensor, "out_c in_c 1 1"],
    style: Float[Tensor, "b in_c"],
    bias: Float[Tensor, "out_c"],
) -> Float[Tensor, "b out_c h w"]:
    """Weighted sums of a pixel's channels, which a style scales, one style per sample."""
    weights = (weight[:, :, 0, 0] * style[:, None, :]).to(x.dtype)
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
    sums = torch.baddbmm(bias.to(x.dtype), pixels, weights.transpose(1, 2))
    return sums.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def _demodulation(weight: Float[Tensor, "out_c in_c 3 3"], style: Float[Tensor, "b in_c"]) -> Float[Tensor, "b out_c"]:
    power = weight.square().sum((2, 3))
    return (style.square() @ power.T + 1e-8).rsqrt()


def convolve(
    x: Float[Tensor, "b in_c h w"],
    weight: Float[Tensor, "out_c in_c 3 3"],
    *,
    bias: Float[Tensor, "out_c"] | None = None,
    fir: Float[Tensor, "4 4"] | None = None,
) -> Float[Tensor, "b out_c oh ow"]:
    """Convolve in the type of `x`; when a filter is given, to twice the size and filtered with it."""
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    if fir is None:
        return functional.conv2d(x, weight, bias, padding=1)
    # The transposed convolution mirrors the kernel against the plain one; published weights are trained so.
    x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    # The filter is symmetric, so mirroring it changes nothing; zeros put between the samples cost a gain of 4.
    kernel = (4 * fir).to(x.dtype).expand(len(weight), 1, -1, -1)
    return functional.conv2d(x, kernel, bias, padding=1, groups=len(weight))


def _limit(x: Float[Tensor, "*n"], largest: float) -> Float[Tensor, "*n"]:
    # In place where no gradient needs the values before.
    return x.clamp(-largest, largest) if torch.is_grad_enabled() else x.clamp_(-largest, largest)


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
        # Leaky ReLU lets positive factors pass, so its gain is cheaper before it.
        total_gain = gain * _GAINS["lrelu"]
        bias = self.bias * total_gain
        x = modulated_conv(x, self.weight, self.affine(w), bias=bias, fir=fir, gain=total_gain)
        if noise == "const":
            x = x + (self.noise_const * (self.noise_strength * total_gain)).to(x.dtype)
        elif noise == "random":
            x = x + torch.randn_like(x[:, :1]) * (self.noise_strength * total_gain).to(x.dtype)
        x = functional.leaky_relu_(x, 0.2)
        return x if self.clamp is None else _limit(x, self.clamp * gain)


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
        x = modulated_sum(x, self.weight, style, self.bias)
        return x if self.clamp is None else _limit(x, self.clamp)
