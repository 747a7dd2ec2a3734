# SPDX-License-Identifier: Apache-2.0
"""From the name of an installed model to the model itself."""

from typing import Any

import torch

from backend.errors import SettingsError
from backend.folders import starter_path
from backend.portrait_model.contract import PortraitModel
from backend.portrait_model.starter import StarterModel
from backend.starter import load_starter


def open_model(name: str, device: torch.device) -> PortraitModel[Any]:
    """The model with its networks on a device.

    Raises:
        SettingsError: No such model is installed.
        ModelError: Its weights are missing or damaged.
    """
    if name != "starter":
        raise SettingsError(f"There is no model “{name}”; there is: starter.", code="unknown_model")
    starter = load_starter(starter_path())
    starter.generator.to(device)
    return StarterModel(starter)
