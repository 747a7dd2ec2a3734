# SPDX-License-Identifier: Apache-2.0
"""From style codes to a stack of channels, coarse to fine, with a skip sum of images."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from backend.generator.layers import NoiseMode, SynthesisLayer, ToRGB, binomial_filter, fast_layout, upsample2


def channel_table(resolution: int, *, base: int, largest: int) -> dict[int, int]:
    """Feature channels at each side from 4 to `resolution`: base / side, at most `largest`."""
    return {side: min(base // side, largest) for side in _sides(resolution)}


def num_ws_of(resolution: int) -> int:
    """Rows of `ws` that a network with this output side takes."""
    return 2 * int(math.log2(resolution)) - 2


def _sides(resolution: int) -> Sequence[int]:
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution must be a power of two from 4 on, got {resolution}")
    return [2**i for i in range(2, resolution.bit_length())]


class SynthesisBlock(nn.Module):
    """The layers of one side: up to two convolutions and the image of their features.

    Args:
        in_channels: Of the previous block; 0 starts from a learned constant.
        out_channels: Of this block's features.
        w_dim: Size of a row of `ws`.
        resolution: Side of the output, pixels.
        image_channels: Of the image.
        upsample: Whether features and image arrive at half the side; without effect on a first block.
        clamp: Largest magnitude of the features and of the image's increments.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        image_channels: int,
        upsample: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.num_convs = 2 if in_channels else 1
        self.register_buffer("resample_filter", binomial_filter())
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(
                in_channels, out_channels, w_dim=w_dim, resolution=resolution, upsample=upsample, clamp=clamp
            )
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim=w_dim, resolution=resolution, clamp=clamp)
        self.torgb = ToRGB(out_channels, image_channels, w_dim=w_dim, clamp=clamp)

    def forward(
        self,
        x: Float[Tensor, "b in_c h w"] | None,
        image: Float[Tensor, "b image_c h w"] | None,
        ws: Float[Tensor, "b rows w_dim"],
        *,
        noise: NoiseMode = "const",
    ) -> tuple[Float[Tensor, "b out_c oh ow"], Float[Tensor, "b image_c oh ow"]]:
        """Features and image of this block.

        Args:
            x: Features of the previous block; None for a first block.
            image: Image so far; None for a first block.
            ws: One row per convolution and one for the image.
            noise: ``const`` adds the stored noise, ``random`` fresh noise.
        """
        if x is None:
            x = fast_layout(self.const.expand(len(ws), -1, -1, -1))
        else:
            x = self.conv0(x, ws[:, 0], noise=noise)
        x = self.conv1(x, ws[:, self.num_convs - 1], noise=noise)
        increment = self.torgb(x, ws[:, self.num_convs])
        # Features may have 16 bits, the sum of images has 32.
        increment = increment.to(torch.promote_types(increment.dtype, torch.float32))
        if image is None:
            return x, increment
        image = upsample2(image, self.resample_filter) if self.upsample else image
        return x, image + increment


class SynthesisNetwork(nn.Module):
    """Blocks of side 4, 8, ... whose images are summed, each upsampled to the next.

    Args:
        w_dim: Size of a row of `ws`.
        resolution: Side of the output, a power of two, pixels.
        image_channels: Of the output.
        channels: Feature channels per side, as `channel_table` makes them.
        clamp: Largest magnitude of the features.
    """

    def __init__(
        self,
        *,
        w_dim: int,
        resolution: int,
        image_channels: int,
        channels: Mapping[int, int],
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.num_ws = num_ws_of(resolution)
        in_channels = 0
        for side in _sides(resolution):
            block = SynthesisBlock(
                in_channels,
                channels[side],
                w_dim=w_dim,
                resolution=side,
                image_channels=image_channels,
                clamp=clamp,
            )
            self.add_module(f"b{side}", block)
            in_channels = channels[side]

    def forward(
        self, ws: Float[Tensor, "b num_ws w_dim"], *, noise: NoiseMode = "const"
    ) -> Float[Tensor, "b image_c side side"]:
        """The image of a batch of codes."""
        x, image = cast(SynthesisBlock, self.get_submodule("b4"))(None, None, ws[:, :2], noise=noise)
        row = 1
        for side in _sides(self.resolution)[1:]:
            block = cast(SynthesisBlock, self.get_submodule(f"b{side}"))
            # The image's row is also the first row of the next block.
            x, image = block(x, image, ws[:, row : row + block.num_convs + 1], noise=noise)
            row += block.num_convs
        return image
