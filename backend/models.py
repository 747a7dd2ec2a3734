# SPDX-License-Identifier: Apache-2.0
"""Weight files: how they are checked and written; ``backend/folders.py`` says where they lie."""

import hashlib
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from backend.errors import ModelError
from backend.folders import model_path, starter_path


def load_weights(name: str) -> dict[str, Tensor]:
    """Tensors of a downloaded model.

    Raises:
        ModelError: The file is missing or damaged.
    """
    return read_weights(model_path(name))[0]


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a weight file, checked against the file's own hash where it has one.

    Raises:
        ModelError: The file is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(
            f"The weights {path.name} are missing from {path.parent}. {_remedy(path)}", code="model_missing"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"The weights {path} are damaged. {_remedy(path)}", code="model_damaged") from error
    if "sha256" in metadata and metadata["sha256"] != content_hash(tensors):
        raise ModelError(f"The weights {path} are damaged. {_remedy(path)}", code="model_damaged")
    return tensors, metadata


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a weight file with its content hash; the file appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata | {"sha256": content_hash(tensors)})
        partial.chmod(0o644)  # The library writes files that only their owner may read.
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def content_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _remedy(path: Path) -> str:
    if path == starter_path():
        return "Install Protome again."
    return "Run scripts/fetch_photo_models.py again."
