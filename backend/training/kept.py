# SPDX-License-Identifier: Apache-2.0
"""Results of slow steps, kept in files."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from backend.errors import ModelError

Result = TypeVar("Result")


def kept(file: Path, make: Callable[[], Result]) -> Result:
    """The result in ``file``, made and written first if it is not there; a crash while writing leaves no file.

    Raises:
        ModelError: The file is damaged.
    """
    if file.exists():
        found: Result = _read(file)
        return found
    result = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        pickle.dump(result, stream)
    partial.replace(file)
    return result


def _read(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 - our own file, written above.
    except (EOFError, pickle.UnpicklingError, AttributeError, ImportError) as error:
        raise ModelError(
            f"The intermediate result {file} is damaged, or of another version; delete it.", code="result_damaged"
        ) from error
