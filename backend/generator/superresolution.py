# SPDX-License-Identifier: Apache-2.0
"""From a rendered feature image to the final picture."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.generator.config import SuperResolutionConfig
from backend.generator.layers import NoiseMode, binomial_filter, fast_layout
from backend.generator.synthesis import SynthesisBlock


class SuperResolution(nn.Module):
    """Two synthesis blocks on the feature image, all styled by the last row of `ws`.

    Args:
        config: Sizes.
        features: Channels of the feature image.
        w_dim: Size of a row of `ws`.
    """

    def __init__(self, config: SuperResolutionConfig, *, features: int, w_dim: int) -> None:
        super().__init__()
        self.config = config
        first_side = config.output_resolution // 2
        self.block0 = SynthesisBlock(
            features,
            config.channels[0],
            w_dim=w_dim,
            resolution=first_side,
            image_channels=3,
            upsample=config.upsamples_twice,
            clamp=config.clamp,
        )
        self.block1 = SynthesisBlock(
            *config.channels,
            w_dim=w_dim,
            resolution=config.output_resolution,
            image_channels=3,
            clamp=config.clamp,
        )
        if config.kind != "8XDC":
            # Unused, but part of the published weights of these kinds.
            self.register_buffer("resample_filter", binomial_filter())

    def forward(
        self,
        rgb: Float[Tensor, "b 3 r r"],
        features: Float[Tensor, "b c r r"],
        ws: Float[Tensor, "b num_ws w_dim"],
        *,
        noise: NoiseMode = "none",
        half: torch.dtype | None = None,
    ) -> Float[Tensor, "b 3 side side"]:
        """The final picture, in about [-1, 1].

        Args:
            rgb: As rendered.
            features: As rendered.
            ws: Only the last row is used.
            noise: Added to the features of each layer.
            half: 16-bit type of the features; the picture is summed up in full precision all the same. The published
                code computes so on CUDA, with float16.

        Raises:
            ValueError: The image is larger than a kind without shrinking takes.
        """
        rows = ws[:, -1:].expand(-1, 3, -1)
        # An autocast may have made the features short.
        x, image = fast_layout(self._resize(features.float())), fast_layout(self._resize(rgb.float()))
        x, image = self.block0(x if half is None else x.to(half), image, rows, noise=noise)
        return self.block1(x, image, rows, noise=noise)[1]

    def _resize(self, image: Float[Tensor, "b c r r"]) -> Float[Tensor, "b c input input"]:
        size = self.config.input_resolution
        if image.shape[-1] == size:
            return image
        if image.shape[-1] > size and self.config.kind == "4X":
            raise ValueError(f"4X super-resolution takes at most {size} pixels, got {image.shape[-1]}")
        return functional.interpolate(
            image, (size, size), mode="bilinear", align_corners=False, antialias=self.config.antialias
        )
