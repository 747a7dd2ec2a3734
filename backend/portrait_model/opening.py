# SPDX-License-Identifier: Apache-2.0
"""From an installed weight file to a model that the main path can use."""

from typing import Any

import torch

from backend.catalogue import STARTER, Installed, find_generator, installed_generators
from backend.checkpoint.loading import load_generator
from backend.errors import RecordError
from backend.folders import starter_path
from backend.head import HeadRecord
from backend.inversion.encoding import triplanenet_encoder
from backend.portrait_model.contract import PortraitModel
from backend.portrait_model.published import PublishedModel
from backend.portrait_model.starter import StarterModel
from backend.starter import load_starter


def open_model(name: str, device: torch.device) -> PortraitModel[Any]:
    """The model of this name with its networks on a device.

    Raises:
        SettingsError: No such model is installed, or it makes no heads.
        ModelError: Its weights are missing or damaged.
    """
    return _open(find_generator(name), device)


def open_model_of(record: HeadRecord, device: torch.device) -> PortraitModel[Any]:
    """The model that a head was made with, under whatever name it is installed now.

    Raises:
        RecordError: It is not installed.
        ModelError: Its weights are damaged.
    """
    wanted = record.generator.get("id")
    for installed in installed_generators():
        if installed.metadata.get("id") == wanted:
            return _open(installed, device)
    remedy = "Create the head again from its photo."
    if record.generator.get("family") != STARTER:
        remedy = "Add it with `protome models add`, or create the head again from its photo."
    raise RecordError(
        f"This head was made with the model “{wanted}”, which is not installed. {remedy}", code="other_model"
    )


def _open(installed: Installed, device: torch.device) -> PortraitModel[Any]:
    if installed.family == STARTER:
        starter = load_starter(installed.path)
        starter.generator.to(device)
        return StarterModel(starter)
    loaded = load_generator(installed)
    # The mean face comes with Protome, whichever generator makes the heads.
    template = load_starter(starter_path()).template
    encoder = None if loaded.encoder is None else triplanenet_encoder(loaded.encoder.to(device))
    return PublishedModel(loaded.generator.to(device), loaded.identity, template, encoder=encoder)
