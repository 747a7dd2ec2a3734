# SPDX-License-Identifier: Apache-2.0
"""What the runs of all encoders share: their optimiser, and checkpoints that hold a network's weights alone."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from backend.training.run import Run, RunConfig

CLIP = 2.0

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class EncoderRun(Run, Generic[NetworkT]):
    """A run whose batches follow from its seed and the step's number.

    Args:
        network: Trained in place, on the device where it is.
        name: Of its weights in the checkpoint.
        config: The run; a checkpoint of another one is not taken up.
        folder: For the checkpoint and the log.
    """

    network: NetworkT

    def __init__(self, network: NetworkT, name: str, *, config: RunConfig, folder: Path) -> None:
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        super().__init__(network, optimizer, config=config, folder=folder, clip=CLIP)
        self._name = name

    def trained(self) -> NetworkT:
        """A network with the average of the weights, in evaluation mode."""
        network = deepcopy(self.network)
        network.load_state_dict(self.average)
        return network.eval().requires_grad_(False)

    def state(self) -> dict[str, object]:
        """The weights."""
        return {self._name: self.network.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave.

        Raises:
            ValueError: The checkpoint is of a run with other settings.
        """
        if state["config"] != asdict(self._config):
            raise ValueError("other settings")
        self.network.load_state_dict(state[self._name])
