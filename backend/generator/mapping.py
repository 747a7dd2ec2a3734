# SPDX-License-Identifier: Apache-2.0
"""From a random vector, and a camera label if wanted, to the style codes `ws`."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from backend.generator.layers import Activation, FullyConnected


def normalize_power(x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Scale each row to a mean square of 1."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-8).rsqrt()


class MappingNetwork(nn.Module):
    """Dense layers from `z` and a condition to one code, repeated for every row of `ws`.

    Args:
        z_dim: Size of the random vector; 0 for a network of the condition alone.
        c_dim: Size of the condition; 0 for none.
        w_dim: Size of a row of `ws`.
        num_ws: Rows of `ws`.
        num_layers: Dense layers after the embedding.
        lr_multiplier: Of these layers.
        last_activation: Of the last of them.
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        num_layers: int = 2,
        lr_multiplier: float = 0.01,
        last_activation: Activation = "lrelu",
    ) -> None:
        if z_dim == 0 and c_dim == 0:
            raise ValueError("A mapping network needs z, a condition or both")
        super().__init__()
        self.z_dim, self.c_dim, self.num_ws, self.num_layers = z_dim, c_dim, num_ws, num_layers
        if c_dim:
            self.embed = FullyConnected(c_dim, w_dim)
        for i in range(num_layers):
            in_features = w_dim if i else z_dim + (w_dim if c_dim else 0)
            activation: Activation = last_activation if i == num_layers - 1 else "lrelu"
            layer = FullyConnected(in_features, w_dim, activation=activation, lr_multiplier=lr_multiplier)
            self.add_module(f"fc{i}", layer)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Float[Tensor, "b z_dim"] | None,
        condition: Float[Tensor, "b c_dim"] | None = None,
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Float[Tensor, "b num_ws w_dim"]:
        """Codes for a batch.

        Args:
            z: Standard normal; None when `z_dim` is 0.
            condition: Such as a camera label; None when `c_dim` is 0.
            truncation: 1 leaves the codes alone, 0 gives the average code.
            cutoff: How many rows are truncated; None for all.
        """
        w = self.w(z, condition)
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if truncation == 1.0:
            return ws
        truncated = torch.lerp(self.w_avg, w, truncation)[:, None].expand_as(ws)
        return truncated if cutoff is None else torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)

    def w(
        self, z: Float[Tensor, "b z_dim"] | None, condition: Float[Tensor, "b c_dim"] | None = None
    ) -> Float[Tensor, "b w_dim"]:
        """One untruncated code per sample."""
        if (z is None) == bool(self.z_dim) or (condition is None) == bool(self.c_dim):
            raise ValueError(f"This mapping takes z of size {self.z_dim} and a condition of size {self.c_dim}")
        parts = [] if z is None else [normalize_power(z.float())]
        if condition is not None:
            parts.append(normalize_power(self.embed(condition.float())))
        x = torch.cat(parts, dim=1)
        for i in range(self.num_layers):
            x = cast(FullyConnected, self.get_submodule(f"fc{i}"))(x)
        return x
