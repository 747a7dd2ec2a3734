# SPDX-License-Identifier: Apache-2.0
"""The small network from plane features to density and colour."""

import math
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.generator.config import FeatureActivation
from backend.generator.layers import FullyConnected


class Decoder(nn.Module):
    """Two dense layers with a softplus between them.

    Args:
        features: Channels of the planes.
        hidden: Width of the first layer.
        outputs: Colour features.
        lr_multiplier: Of both layers.
        activation: Of the colour features; ``sigmoid`` brings them to about [0, 1].
    """

    def __init__(
        self,
        features: int,
        *,
        hidden: int,
        outputs: int,
        lr_multiplier: float = 1.0,
        activation: FeatureActivation = "sigmoid",
    ) -> None:
        super().__init__()
        self.activation: FeatureActivation = activation
        first = FullyConnected(features, hidden, lr_multiplier=lr_multiplier)
        last = FullyConnected(hidden, 1 + outputs, lr_multiplier=lr_multiplier)
        self.net = nn.Sequential(first, nn.Softplus(), last)

    def forward(self, features: Float[Tensor, "*n c"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n outputs"]]:
        """Density before activation, and colour features."""
        output: Tensor = self.net(features)
        return output[..., 0], self._activate(output[..., 1:])

    def raw_density(self, features: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
        """The first output of `forward` alone."""
        return self._outputs(features, slice(0, 1)).squeeze(-1)

    def rgb(self, features: Float[Tensor, "*n c"]) -> Float[Tensor, "*n 3"]:
        """The first three colour features."""
        return self._activate(self._outputs(features, slice(1, 4)))

    def _outputs(self, features: Float[Tensor, "*n c"], chosen: slice) -> Float[Tensor, "*n k"]:
        weight, bias = cast(FullyConnected, self.net[2]).effective()
        hidden = self.net[1](self.net[0](features))
        return functional.linear(hidden, weight[chosen], None if bias is None else bias[chosen])

    def _activate(self, x: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
        if self.activation == "none":
            return x
        if self.activation == "lrelu":
            return functional.leaky_relu(x, 0.2) * math.sqrt(2)
        # A little wider than [0, 1], so that black and white are reached (Mip-NeRF, arXiv:2103.13415).
        return x.sigmoid() * 1.002 - 0.001
