# SPDX-License-Identifier: Apache-2.0
"""Sliders that were fitted to an installed generator, in a file beside it: ``NAME.sliders.safetensors``."""

import json
from pathlib import Path

import numpy as np
import torch

from backend.errors import ModelError
from backend.folders import model_path
from backend.head import Slider
from backend.models import read_weights, write_weights
from backend.portrait_model.plane_codes import PlaneDirection


def sliders_path(name: str) -> Path:
    """Where the sliders of an installed model lie, whether there are any or not."""
    return model_path(f"{name}.sliders")


def write_sliders(path: Path, directions: list[PlaneDirection], *, generator_id: str) -> None:
    """Keep sliders; the file appears whole or not at all.

    Args:
        path: From ``sliders_path``.
        directions: One unit of each slider, rows of ``ws``.
        generator_id: Of the generator that they were fitted to.
    """
    ws = torch.from_numpy(np.stack([direction.ws for direction in directions]).astype(np.float32))
    sliders = json.dumps([vars(direction.slider) for direction in directions])
    write_weights(path, {"ws": ws}, {"generator": generator_id, "sliders": sliders})


def read_sliders(path: Path, *, generator_id: str) -> list[PlaneDirection]:
    """What ``write_sliders`` kept.

    Raises:
        ModelError: The file is damaged, or its sliders are of another generator.
    """
    tensors, metadata = read_weights(path)
    try:
        if metadata["generator"] != generator_id:
            raise ModelError(
                f"The sliders in {path.name} were fitted to another model. Remove the file or fit them anew.",
                code="other_sliders",
            )
        rows = tensors["ws"].numpy()
        sliders = [Slider(**one) for one in json.loads(metadata["sliders"])]
        return [PlaneDirection(slider, ws) for slider, ws in zip(sliders, rows, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The sliders in {path} are damaged. Fit them anew.", code="model_damaged") from error
