# SPDX-License-Identifier: Apache-2.0
"""What is installed, told from the weight files' headers; standard library only, so quick and without torch.

Source:
    The safetensors format as its documentation describes it.
"""

import json
from pathlib import Path

from backend.errors import ModelError
from backend.folders import starter_path
from backend.protocol import Model

MAX_HEADER_BYTES = 100_000_000  # The format's own limit.


def installed_models() -> list[Model]:
    """The generators whose weights are there and whole."""
    models = []
    for name, path in (("starter", starter_path()),):
        if is_whole(path):
            metadata = read_metadata(path)
            licence, commercial_use = metadata.get("licence", "unknown"), metadata.get("commercial_use", "unknown")
            models.append(Model(name, licence, commercial_use))
    return models


def is_whole(path: Path) -> bool:
    """Whether a weight file is there, has a header and the length that the header tells."""
    try:
        read_metadata(path)
    except ModelError:
        return False
    return True


def read_metadata(path: Path) -> dict[str, str]:
    """The names and texts in a weight file's header.

    Raises:
        ModelError: The file is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(header_bytes, MAX_HEADER_BYTES)))
        data_bytes = path.stat().st_size - 8 - header_bytes
        metadata = header.pop("__metadata__", {})
        ends = [tensor["data_offsets"][1] for tensor in header.values()]
    except FileNotFoundError as error:
        raise ModelError(f"The weights {path} are missing.", code="model_missing") from error
    except (OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise ModelError(f"The weights {path} are damaged.", code="model_damaged") from error
    if max(ends, default=0) != data_bytes:
        raise ModelError(f"The weights {path} are damaged.", code="model_damaged")
    return metadata
