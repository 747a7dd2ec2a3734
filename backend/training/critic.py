# SPDX-License-Identifier: Apache-2.0
"""Phase C: a small network learns to tell true patches from rendered ones, and the generator to fool it."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.training.run import descend

CLIP = 10.0
SLOPE = 0.2
# True pictures have one ray a pixel and jagged outlines; looked at in halves, both have soft ones.
POOL = 2


@dataclass(frozen=True)
class CriticConfig:
    """Sizes and strengths.

    Args:
        weight: Of fooling the critic, beside the pixel terms.
        channels: Features, halving the side before each but the first.
        learning_rate: Of its own Adam.
        penalty: Gamma of R1.
        penalty_steps: R1 is added at every so many steps, so many times as strong.
        seed: Of its weights.
    """

    weight: float = 0.01
    channels: tuple[int, ...] = (48, 96, 128)
    learning_rate: float = 1e-3
    penalty: float = 10.0
    penalty_steps: int = 16
    seed: int = 0


class PatchCritic(nn.Module):
    """From patches in [0, 1] to a score for each of their places; high means true.

    Args:
        channels: See ``CriticConfig``.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, padding=1), nn.LeakyReLU(SLOPE)]
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 1))

    def forward(self, patches: Float[Tensor, "b 3 k k"]) -> Float[Tensor, "b 1 j j"]:
        """Scores."""
        scores: Tensor = self.layers(functional.avg_pool2d(patches, POOL) * 2 - 1)
        return scores


class Critic:
    """The critic and its optimiser.

    Args:
        config: Sizes and strengths.
        device: Where it computes.
    """

    def __init__(self, config: CriticConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.network = PatchCritic(config.channels).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, betas=(0.0, 0.99))

    def fooled(self, made: Float[Tensor, "b 3 k k"]) -> Tensor:
        """Loss of the generator: small where its patches pass for true.

        Source:
            Goodfellow et al. 2014, arXiv:1406.2661, section 3: the non-saturating form.
        """
        return functional.softplus(-self.network(made)).mean()

    def learn(self, true: Float[Tensor, "b 3 k k"], made: Float[Tensor, "b 3 k k"], *, step: int) -> dict[str, float]:
        """One step on true patches and on made ones that have no gradient.

        Raises:
            ModelError: The loss or its gradient is no number; the critic stays as it is.
        """
        is_penalised = step % self.config.penalty_steps == 0
        true = true.detach().requires_grad_(is_penalised)
        scores = self.network(true)
        loss = functional.softplus(-scores).mean() + functional.softplus(self.network(made)).mean()
        told = loss.item()
        if is_penalised:
            loss = loss + self.config.penalty_steps * self.config.penalty / 2 * squared_slope(scores, true)
        descend(self.optimizer, loss, clip=CLIP, step=step)
        return {"critic": told}

    def state_dict(self) -> dict[str, object]:
        """Weights and optimiser."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def squared_slope(scores: Float[Tensor, "b 1 j j"], patches: Float[Tensor, "b 3 k k"]) -> Tensor:
    """Mean over patches of the squared gradient of their mean score.

    Source:
        Mescheder et al. 2018, arXiv:1801.04406, equation 9 (R1); only at some steps: Karras et al. 2020,
        arXiv:1912.04958, appendix B.
    """
    (slope,) = torch.autograd.grad(scores.mean((1, 2, 3)).sum(), patches, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean()
