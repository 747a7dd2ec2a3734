# SPDX-License-Identifier: Apache-2.0
"""What is installed, told from the weight files' headers; standard library only, so quick and without torch.

Source:
    The safetensors format as its documentation describes it.
"""

import json
import math
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn

from backend.errors import ModelError, SettingsError
from backend.folders import PHOTO_MODELS, model_path, models_folder, starter_path
from backend.protocol import Model

MAX_HEADER_BYTES = 8_000_000  # The largest of ours, with its licence's text, has 200 kB.
MAX_DIMENSIONS = 16
# Bytes of an element.
ELEMENT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
STARTER = "starter"
SUBJECTS = ("face", "cat", "car")  # What a generator makes; all but the first are taken as they are cropped.
GENERATOR_FAMILIES = ("eg3d", "panohead", "portrait3d", "triplanenet", STARTER)
HELPER_FAMILIES = ("arcface", "smpl-body")  # What helps inversion and makes no heads.


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in a weight file.

    Args:
        element: A key of ``ELEMENT_BYTES``.
        shape: Of the tensor.
        start: Its first byte, counted from the file's start.
        stop: One behind its last byte.
    """

    element: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """A weight file's header.

    Args:
        metadata: Names and texts.
        tensors: By name.
    """

    metadata: dict[str, str]
    tensors: dict[str, TensorPlace]


@dataclass(frozen=True)
class Installed:
    """A generator or a helper that is there and whole.

    Args:
        name: What the user calls it.
        path: Its weight file.
        metadata: Of its header: ``id``, ``family``, ``licence``, ``commercial_use``, ``config`` and more.
    """

    name: str
    path: Path
    metadata: dict[str, str]

    @property
    def family(self) -> str:
        """One of ``GENERATOR_FAMILIES`` or ``HELPER_FAMILIES``."""
        return self.metadata.get("family", STARTER)

    @property
    def subject(self) -> str:
        """One of ``SUBJECTS``."""
        return self.metadata.get("subject", SUBJECTS[0])

    @property
    def licence(self) -> str:
        """Name of the licence."""
        return self.metadata.get("licence", "unknown")

    @property
    def commercial_use(self) -> str:
        """Yes, no or unknown."""
        return self.metadata.get("commercial_use", "unknown")


def installed_models() -> list[Model]:
    """The generators whose weights are there and whole, as the worker tells them to the add-on."""
    return [Model(one.name, one.licence, one.commercial_use) for one in installed_generators()]


def installed_generators() -> list[Installed]:
    """The generators whose weights are there and whole; the starter first, then by name."""
    return [one for one in _whole() if one.family in GENERATOR_FAMILIES]


def installed_helpers(*families: str) -> list[Installed]:
    """The helpers whose weights are there and whole, by name; of all families when none is named."""
    return [one for one in _whole() if one.family in (families or HELPER_FAMILIES)]


def find_generator(name: str) -> Installed:
    """An installed generator by name.

    Raises:
        SettingsError: There is none of this name.
        ModelError: Its file is damaged.
    """
    found = find_model(name)
    if found.family not in GENERATOR_FAMILIES:
        raise SettingsError(f"“{name}” is no generator of heads.", code="unknown_model")
    return found


def find_model(name: str) -> Installed:
    """An installed generator or helper by name.

    Raises:
        SettingsError: There is none of this name.
        ModelError: Its file is damaged.
    """
    path = starter_path() if name == STARTER else model_path(name)
    if name != STARTER and path not in [path for _, path in _files()]:
        names = ", ".join(one.name for one in installed_generators())
        raise SettingsError(f"There is no model “{name}”; there is: {names}.", code="unknown_model")
    metadata = read_metadata(path)
    if name != STARTER and metadata.get("family") not in GENERATOR_FAMILIES + HELPER_FAMILIES:
        raise SettingsError(f"“{name}” is no generator of heads.", code="unknown_model")
    return _installed(name, path, metadata)


def damaged_models() -> list[tuple[str, Path]]:
    """Names and files of models that were added and are not whole any more."""
    return [(name, path) for name, path in _files() if name not in PHOTO_MODELS and not is_whole(path)]


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
    return read_header(path).metadata


def read_header(path: Path) -> Header:
    """A weight file's header, every number in it checked against the file's length and the other tensors.

    Raises:
        ModelError: The file is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            return parse_header(file, path.stat().st_size)
    except FileNotFoundError as error:
        raise ModelError(f"The weights {path} are missing.", code="model_missing") from error
    except (OSError, ModelError) as error:
        raise ModelError(f"The weights {path} are damaged.", code="model_damaged") from error


def parse_header(file: BufferedIOBase, file_bytes: int) -> Header:
    """The header of an open file.

    Args:
        file: At its start.
        file_bytes: Its length.

    Raises:
        ModelError: It is no safetensors file, or a damaged one.
    """
    header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > min(MAX_HEADER_BYTES, file_bytes - 8):
        _damaged("the header is longer than it can be")
    try:
        entries = json.loads(file.read(header_bytes))
        metadata = entries.pop("__metadata__", {})
        places = {name: _place(entry, 8 + header_bytes) for name, entry in entries.items()}
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
        raise ModelError("This is no safetensors file, or a damaged one.", code="model_damaged") from error
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        _damaged("its notes are no texts")
    _check_places(sorted(places.values(), key=lambda place: (place.start, place.stop)), 8 + header_bytes, file_bytes)
    return Header(metadata, places)


def _place(entry: Any, offset: int) -> TensorPlace:
    shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
    if len(shape) > MAX_DIMENSIONS or any(type(number) is not int or number < 0 for number in (start, stop, *shape)):
        _damaged("a size is no natural number")
    if stop - start != math.prod(shape) * ELEMENT_BYTES[entry["dtype"]]:
        _damaged("a shape does not fit its length")
    return TensorPlace(entry["dtype"], shape, offset + start, offset + stop)


def _check_places(places: list[TensorPlace], first: int, file_bytes: int) -> None:
    """Tensors lie one behind the other, from the header to the end of the file."""
    stops = [first, *(place.stop for place in places)]
    if any(place.start != stop for place, stop in zip(places, stops[:-1], strict=True)) or stops[-1] != file_bytes:
        _damaged("tensors overlap, have gaps between them or end elsewhere than the file")


def _whole() -> list[Installed]:
    """Models whose weights are there and whole; the starter first, then by name."""
    found = []
    for name, path in [(STARTER, starter_path()), *_files()]:
        try:
            metadata = read_metadata(path)
        except ModelError:
            continue
        if path == starter_path() or "family" in metadata:
            found.append(_installed(name, path, metadata))
    return found


def _installed(name: str, path: Path, metadata: dict[str, str]) -> Installed:
    """With an ``id`` that follows from the content where the file states none, so that a name can change."""
    made = f"{metadata.get('family', STARTER)}-{metadata.get('sha256', '')[:16]}"
    return Installed(name, path, {"id": made, **metadata})


def _damaged(why: str) -> NoReturn:
    raise ModelError(f"This safetensors file is damaged: {why}.", code="model_damaged")


def _files() -> list[tuple[str, Path]]:
    try:
        paths = sorted(models_folder().glob("*.safetensors"))
    except OSError:
        return []
    return [(path.name.removesuffix(".safetensors"), path) for path in paths]
