# SPDX-License-Identifier: Apache-2.0
"""Weight files: how they are checked and written; ``backend/folders.py`` says where they lie."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.errors import ModelError
from backend.folders import PHOTO_MODELS, starter_path
from backend.partial_file import partial_path

ALIGNMENT = 8  # Bytes; of the header, as the format's own library writes it.
ELEMENTS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], *, is_new: bool = False) -> None:
    """Writes a weight file with its content hash; the file appears complete or not at all.

    Args:
        path: Its place.
        tensors: By name.
        metadata: Names and texts.
        is_new: Whether it may not take the place of another file.

    Raises:
        FileExistsError: There is a file, and there should be none.
        OSError: The folder cannot be written or the disk is full; a file that was there before is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        with partial.open("xb") as file:
            _write(file, tensors, metadata | {"sha256": content_hash(tensors)})
        if is_new:
            _move_to_free_place(partial, path)
        else:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _move_to_free_place(partial: Path, path: Path) -> None:
    try:
        path.hardlink_to(partial)  # Fails where a file is; a move would take its place.
    except FileExistsError:
        raise
    except OSError:  # Some drives have no links.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        partial.replace(path)


def _write(file: BinaryIO, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Tensor after tensor, so that no second copy is in memory; wide elements first, so that all are aligned."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": metadata}
    stop = 0
    for name in names:
        start, stop = stop, stop + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": ELEMENTS[tensors[name].dtype], "shape": shape, "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(_bytes(tensors[name]))


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def content_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


def _remedy(path: Path) -> str:
    if path == starter_path():
        return "Install Protome again."
    if path.stem in PHOTO_MODELS:
        return "Run scripts/fetch_photo_models.py again."
    return "Remove it with `protome models remove` and add it again."
