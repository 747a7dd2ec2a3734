# SPDX-License-Identifier: Apache-2.0
"""What is usual among a generator's codes, told by many of them."""

from abc import ABC, abstractmethod
from copy import copy, deepcopy
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)
ModelT = TypeVar("ModelT", bound="SampledModel[Any]")


class SampledModel(ABC, Generic[NetworkT]):
    """What models have in common, however they make heads; see ``method.Model``.

    Args:
        network: Its weights are never changed.
    """

    def __init__(self, network: NetworkT) -> None:
        self.network = network

    @abstractmethod
    def sample_ws(self) -> Float[Tensor, "n num_ws w_dim"]:
        """Codes of many heads, always the same."""

    @cached_property
    def _statistics(self) -> tuple[Tensor, float]:
        with torch.no_grad():
            ws = self.sample_ws()
        mean = ws.mean(0, keepdim=True)
        return mean, float((ws[:, 0] - mean[:, 0]).square().sum().div(len(ws)).sqrt())

    @property
    def mean_ws(self) -> Float[Tensor, "1 num_ws w_dim"]:
        """Average codes."""
        return self._statistics[0]

    @property
    def ws_std(self) -> float:
        """Root of the mean squared distance of codes from the average."""
        return self._statistics[1]

    def copied(self: ModelT) -> ModelT:
        """A model whose weights can be changed without changing this one's; what is usual stays."""
        model = copy(self)
        model.__dict__["_statistics"] = self._statistics
        model.network = deepcopy(self.network)
        return model
