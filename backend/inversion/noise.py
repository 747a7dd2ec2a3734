# SPDX-License-Identifier: Apache-2.0
"""The stored noise of a StyleGAN kept noise-like, and the noise that lets a search of codes explore.

Source:
    Karras et al. 2020, Analyzing and improving the image quality of StyleGAN, arXiv:1912.04958, appendix D.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

EXPLORATION, EXPLORED_UNTIL = 0.05, 0.75
SMALLEST_PX = 8


def exploration_std(ws_std: float, done: float) -> float:
    """Spread of the noise added to codes: falls to nothing at three quarters of the search.

    Args:
        ws_std: Spread of the model's codes.
        done: Share of the steps taken.
    """
    return ws_std * EXPLORATION * max(0.0, 1 - done / EXPLORED_UNTIL) ** 2


def noise_loss(noise: Iterable[Float[Tensor, "_ _"]]) -> Float[Tensor, ""]:
    """Squared correlation of neighbouring pixels at every scale; 0 for ideal noise."""
    losses = []
    for one in noise:
        level = one[None, None]
        while True:
            losses += [(level * level.roll(1, dims=axis)).mean().square() for axis in (3, 2)]
            if level.shape[-1] <= SMALLEST_PX:
                break
            level = functional.avg_pool2d(level, 2)
    return torch.stack(losses).sum()


@torch.no_grad()
def normalize_noise(noise: Iterable[Float[Tensor, "_ _"]]) -> None:
    """Give the noise mean 0 and variance 1, in place."""
    for one in noise:
        one.sub_(one.mean())
        one.mul_(one.square().mean().rsqrt())
