# SPDX-License-Identifier: Apache-2.0
"""Results of slow steps, kept in files that are named by what they depend on."""

import hashlib
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from backend.errors import ModelError, OutputError

Result = TypeVar("Result")
SOURCES = Path(__file__).parent


def kept_name(what: str, *, modules: Sequence[str], numbers: object) -> str:
    """The file name of a result; see ``folder_name``."""
    return f"{folder_name(what, modules=modules, numbers=numbers)}.pickle"


def folder_name(what: str, *, modules: Sequence[str], numbers: object) -> str:
    """A name that changes with the code and the numbers behind what is kept under it.

    Args:
        what: First part of the name.
        modules: Files of this package that decide the result, without ``.py``.
        numbers: Anything else that does; its text counts.
    """
    digest = hashlib.sha256(repr(numbers).encode())
    for module in sorted(modules):
        digest.update((SOURCES / f"{module}.py").read_bytes())
    return f"{what}-{digest.hexdigest()[:12]}"


def content_mark(value: object) -> str:
    """A short text that changes with the content of an array, or with that of any field of a dataclass."""
    if isinstance(value, np.ndarray):
        content = value.tobytes()
    elif is_dataclass(value):
        content = "".join(content_mark(getattr(value, each.name)) for each in fields(value)).encode()
    else:
        content = repr(value).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def kept(file: Path, make: Callable[[], Result]) -> Result:
    """The result in ``file``, made and written first if it is not there; a crash while writing leaves no file.

    Raises:
        ModelError: The file is damaged.
        OutputError: The file cannot be written.
    """
    if file.exists():
        found: Result = _read(file)
        return found
    result = make()
    write_whole(file, lambda partial: partial.write_bytes(pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)))
    return result


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file that appears complete or not at all, whoever else writes it at the same time.

    Args:
        file: The file; its folder is made.
        write: Is given the path to write to.

    Raises:
        OutputError: The disk is full or the folder cannot be written.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(file)
    except (OSError, RuntimeError) as error:
        if partial.is_file():
            partial.unlink()
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise OutputError(
            f"{file} cannot be written ({reason}). Free some space or choose another folder, then start again: "
            "what was there before is kept.",
            code="training_not_written",
        ) from error


def _read(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 - our own file, written above.
    except (EOFError, pickle.UnpicklingError, AttributeError, ImportError) as error:
        raise ModelError(
            f"The intermediate result {file} is damaged, or of another version; delete it.", code="result_damaged"
        ) from error
