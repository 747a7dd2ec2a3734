# SPDX-License-Identifier: Apache-2.0
"""Which processor torch computes on."""

import torch

from backend.config import DeviceName
from backend.errors import SettingsError


def choose_device(name: DeviceName) -> torch.device:
    """The device that a name stands for; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        SettingsError: This computer does not have that device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_available in available.items() if is_available))
    if not available[name]:
        raise SettingsError(
            f"torch finds no {name} device on this computer. Choose the device auto or cpu.", code="no_device"
        )
    return torch.device(name)
