# SPDX-License-Identifier: Apache-2.0
"""The one loop of all methods: gradient steps that keep the best iterate and can be stopped between any two."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.errors import ModelError

# From the number of the step to the weighted terms of the loss.
Objective = Callable[[int], dict[str, Tensor]]
Rate = Callable[[float], float]
RAMP_UP, RAMP_DOWN = 0.05, 0.25
HURRY, MOST_HURRY = 0.7, 8.0
LEAST_GAIN = 1e-3  # Share of the loss; less brings nothing.


def ramped(rate: float) -> Rate:
    """A learning rate that rises in the first twentieth of the steps and falls in the last quarter.

    Source:
        Karras et al. 2020, arXiv:1912.04958, appendix D.
    """

    def at(done: float) -> float:
        down = 0.5 * (1 - math.cos(math.pi * min(1.0, (1 - done) / RAMP_DOWN)))
        return rate * down * min(1.0, done / RAMP_UP)

    return at


def steady(rate: float) -> Rate:
    """A learning rate that stays."""
    return lambda done: rate


def hurried(rate: float, *, usual_steps: int, steps: int) -> float:
    """A learning rate for fewer steps than usual: larger, so that most of the way is still made.

    Args:
        rate: For the usual steps and more.
        usual_steps: The published number.
        steps: How many there are.
    """
    return rate * min(MOST_HURRY, max(1.0, usual_steps / max(1, steps)) ** HURRY)


@dataclass(frozen=True)
class Descent:
    """How to descend.

    Args:
        steps: At most.
        rate: Learning rate of Adam by the done share.
        judged_by: Terms that tell which iterate is best; all when omitted. Terms that are not there at every step
            cannot judge.
        patience: End when the best iterate is this many steps old; None never ends early.
        second_moment: Adam's decay of squared gradients.
    """

    steps: int
    rate: Rate
    judged_by: Collection[str] | None = None
    patience: int | None = None
    second_moment: float = 0.999


def descend(
    parameters: Sequence[Tensor],
    objective: Objective,
    descent: Descent,
    *,
    step: Callable[[float], None],
    after: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Minimise the sum of the terms; the parameters end at the best iterate met.

    Args:
        parameters: Changed in place.
        objective: Terms at the parameters' present values.
        descent: How.
        step: Called with the done share after every step; what it raises ends the descent.
        after: Called after every change of the parameters.

    Returns:
        The terms at the best iterate.

    Raises:
        ModelError: The very first loss is no number.
    """
    optimizer = torch.optim.Adam(parameters, lr=0.0, betas=(0.9, descent.second_moment))
    best = _Best(parameters, descent.judged_by)
    for number in range(descent.steps):
        optimizer.param_groups[0]["lr"] = descent.rate(number / descent.steps)
        terms = objective(number)
        if not best.offer(number, terms):
            break
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        after()
        step((number + 1) / descent.steps)
        if descent.patience is not None and number - best.gained_at > descent.patience:
            break
    with torch.no_grad():
        best.offer(descent.steps, objective(descent.steps))
    return best.restore()


class _Best:
    """The best parameters so far.

    Args:
        parameters: To be kept.
        judged_by: Names of the terms that count; None for all.
    """

    def __init__(self, parameters: Sequence[Tensor], judged_by: Collection[str] | None) -> None:
        self.gained_at = 0
        self._parameters = parameters
        self._judged_by = judged_by
        self._loss = math.inf
        self._milestone = math.inf
        self._terms: dict[str, float] = {}
        self._values: list[Tensor] = []

    def offer(self, number: int, terms: dict[str, Tensor]) -> bool:
        """Keep the parameters when they are the best; False when a term is no number."""
        values = dict(zip(terms, torch.stack(list(terms.values())).detach().tolist(), strict=True))
        if not all(math.isfinite(value) for value in values.values()):
            if not self._values:
                raise ModelError(
                    "The model's pictures are not numbers, so nothing can be fitted. Install its weights again.",
                    code="model_damaged",
                )
            return False
        loss = sum(value for name, value in values.items() if self._judged_by is None or name in self._judged_by)
        if loss < self._milestone * (1 - LEAST_GAIN):
            self._milestone, self.gained_at = loss, number
        if loss < self._loss:
            self._loss = loss
            self._terms = values
            self._values = [parameter.detach().clone() for parameter in self._parameters]
        return True

    @torch.no_grad()
    def restore(self) -> dict[str, float]:
        """Set the parameters to the best values."""
        for parameter, value in zip(self._parameters, self._values, strict=True):
            parameter.copy_(value)
        return self._terms
