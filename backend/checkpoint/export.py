# SPDX-License-Identifier: Apache-2.0
"""Installed weights as a file for other tools."""

import json
from pathlib import Path

import torch
from torch import Tensor

from backend.catalogue import Installed
from backend.checkpoint.identify import DECODER
from backend.errors import ModelError
from backend.models import read_weights, write_weights
from backend.staging import check_output, staging

SUFFIXES = (".pth", ".pt", ".safetensors")
NOTES = ("family", "subject", "config", "licence", "licence_text", "commercial_use")

# Why a model has no EG3D state dict.
_FOREIGN = {
    "starter": (
        "the starter cannot be written as an EG3D state dict: its planes lie in a canonical space that a "
        "template deforms into the world, its decoder adds to a stored bare head part by part, and it has neither "
        "EG3D's camera conditioning nor its super-resolution; EG3D's networks have no place for any of these. "
        "scripts/distill_eg3d.py trains a small network of EG3D's layout on the starter's heads instead"
    ),
    "panohead": (
        "PanoHead cannot be written as an EG3D state dict: its planes have three slices, its third plane lies "
        "otherwise, and it has a background network"
    ),
    "portrait3d": (
        "3DPortraitGAN cannot be written as an EG3D state dict: its planes have three slices, its third plane lies "
        "otherwise, its mapping takes a body pose, and it has a background network"
    ),
}


def export_eg3d(installed: Installed, output: Path) -> list[str]:
    """Write a generator's tensors under EG3D's own names, in single precision and unchanged.

    Args:
        installed: Of EG3D's family; of TriPlaneNet the generator alone is written.
        output: ``.pth`` or ``.pt`` for torch, or ``.safetensors``.

    Returns:
        Sentences on what the file does not hold.

    Raises:
        ModelError: The model's layout is not EG3D's; the message says what does not map.
        SettingsError: The output has another suffix.
        OutputError: It cannot be written.
    """
    if installed.family in _FOREIGN:
        reason = _FOREIGN[installed.family]
        raise ModelError(f"{reason[0].upper()}{reason[1:]}.", code="not_exportable")
    check_output(output, SUFFIXES)
    tensors, metadata = read_weights(installed.path)
    remarks = []
    if installed.family == "triplanenet":
        tensors = {name.removeprefix(DECODER): value for name, value in tensors.items() if name.startswith(DECODER)}
        remarks.append("The encoders are left out; they are no part of EG3D.")
    if output.suffix.lower() != ".safetensors":
        remarks.append(f"A state dict has no options. This model's are: {_options(metadata)}.")
    if installed.commercial_use != "yes":
        remarks.append(f"The weights' terms stay what they are: {installed.licence}.")
    notes = {name: metadata[name] for name in NOTES if name in metadata} | {"family": "eg3d"}
    with staging() as stage:
        stage(output, lambda path: _write(path, tensors, notes))
    return remarks


def _write(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    if path.suffix.lower() == ".safetensors":
        write_weights(path, tensors, notes)
    else:
        torch.save(tensors, path)


def _options(metadata: dict[str, str]) -> str:
    config = json.loads(metadata["config"])
    options = {"side": config["side"], **config["render"], **config["camera"]}
    options |= {"neural_resolution": config["neural_resolution"]}
    return ", ".join(f"{name} {value}" for name, value in options.items() if name != "points_per_chunk")
