# SPDX-License-Identifier: Apache-2.0
"""What can be done with installed models: looking whether they are as they were added, and removing them."""

from pathlib import Path

import torch
from torch import Tensor

from backend.catalogue import HELPER_FAMILIES, STARTER, Installed
from backend.checkpoint.identify import check_shapes, expected_shapes, own_config
from backend.errors import ModelError, SettingsError
from backend.folders import starter_path
from backend.models import read_weights
from backend.output import output_errors
from backend.starter import load_starter


def verify_model(installed: Installed) -> int:
    """Read a model whole: its values against its own hash, names and shapes against its network; returns the tensors.

    Raises:
        ModelError: Something differs.
    """
    if installed.name == STARTER:
        load_starter(installed.path)
    tensors, metadata = read_weights(installed.path)
    if "sha256" not in metadata:
        raise ModelError(f"{installed.path} has no hash of its content. Add the model again.", code="model_damaged")
    if installed.name != STARTER:
        _check_network(installed.family, tensors, metadata)
    return len(tensors)


def _check_network(family: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    config = None if family in HELPER_FAMILIES else own_config(metadata.get("config", ""))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_shapes(shapes, expected_shapes(family, config, shapes))
    odd = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if odd:
        raise ModelError(f"{odd[0]} holds values that are no finite numbers.", code="checkpoint_values")


def remove_model(path: Path) -> None:
    """Delete a model's file, and the sliders that were fitted to it.

    Raises:
        SettingsError: It is the starter, which comes with Protome.
        OutputError: The file cannot be deleted.
    """
    if path == starter_path():
        raise SettingsError("The starter model comes with Protome and stays.", code="bad_name")
    with output_errors(path):
        path.unlink()
        path.with_name(f"{path.stem}.sliders{path.suffix}").unlink(missing_ok=True)
