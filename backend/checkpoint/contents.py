# SPDX-License-Identifier: Apache-2.0
"""From a file to what counts in it: tensors under their published names, and what the file says of its network."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from backend.catalogue import parse_header
from backend.checkpoint.body_file import body_tensors, is_body
from backend.checkpoint.legacy_stream import read_legacy_stream, starts_like_legacy_stream
from backend.checkpoint.numpy_zip import is_numpy_zip, read_numpy_zip
from backend.checkpoint.pickle_machine import Budget, read_pickle
from backend.checkpoint.plain import (
    SAFETENSORS_DTYPES,
    LazyTensor,
    NumpyArray,
    PickledObject,
    Storage,
    contiguous_stride,
)
from backend.checkpoint.rebuild import PLAIN, allowed_in_pickles
from backend.checkpoint.source import ByteSource, refuse
from backend.checkpoint.torch_zip import read_torch_zip
from backend.errors import ModelError
from backend.generator.body_model import TENSORS

MAX_DEPTH = 32
MAX_TENSORS = 20_000
MAX_OPTIONS = 2_000
MAX_TEXT = 200  # Characters of an option, or of the name of a part.
BODY = "body model"
# Protocols 2 to 5, and dictionaries of 0 and 1.
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"(d", b"}q", b"}(", b"}.")
STARTS = {
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"7z\xbc\xaf": "a 7z file; unpack it first",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"glTF": "a 3D model; add networks here, and open heads in Blender",
    b"<": "a web page: the download did not work",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with `git lfs pull`",
}


@dataclass(frozen=True)
class Contents:
    """What a checkpoint says.

    Args:
        tensors: Of the network that makes or encodes heads, by published name.
        class_name: Of that network; None where the file does not say.
        init_kwargs: Its constructor's arguments; None where the file does not say.
        rendering_kwargs: Its options as last edited; None where the file does not say.
        neural_resolution: Its rendering's side, pixels; None where the file does not say.
        discriminator: Tensors of the averaged discriminator, which predicts poses in one family.
        latent_avg: Average code of a generator, which TriPlaneNet adds its codes to; None where it is not there.
        notes: Texts in the header of a safetensors file.
    """

    tensors: dict[str, LazyTensor]
    class_name: str | None = None
    init_kwargs: dict[str, Any] | None = None
    rendering_kwargs: dict[str, Any] | None = None
    neural_resolution: int | None = None
    discriminator: dict[str, LazyTensor] = field(default_factory=dict)
    latent_avg: LazyTensor | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


@contextmanager
def open_contents(path: Path) -> Iterator[Contents]:
    """What a file holds; tensors can be read as long as the block lasts.

    Raises:
        ModelError: The file is missing, damaged, no checkpoint, refused, or changes meanwhile.
    """
    with _opened(path) as file:
        before = os.fstat(file.fileno())
        yield _read(file, before.st_size)
        if not _is_same(before, path):
            raise ModelError(
                f"{path.name} changed while it was read. Wait until its download is done.", code="checkpoint_changed"
            )


def _opened(path: Path) -> BufferedIOBase:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {path}.", code="model_missing") from error
    except IsADirectoryError as error:
        raise ModelError(f"{path} is a folder. Name the weight file in it.", code="checkpoint_kind") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", code="model_missing") from error


def _is_same(before: os.stat_result, path: Path) -> bool:
    try:
        now = path.stat()
    except OSError:
        return False
    return (before.st_ino, before.st_size, before.st_mtime_ns) == (now.st_ino, now.st_size, now.st_mtime_ns)


def _read(file: BufferedIOBase, file_bytes: int) -> Contents:
    start = file.read(32)
    file.seek(0)
    budget = Budget()
    source = ByteSource(file, 0, file_bytes)
    if start.startswith(b"PK") and is_numpy_zip(file):
        return _from_arrays(read_numpy_zip(file, TENSORS))
    if start.startswith(b"PK"):
        return _from_torch(read_torch_zip(file, file_bytes, budget))
    if starts_like_legacy_stream(start):
        return _from_torch(read_legacy_stream(source, PLAIN, budget))
    if start.startswith(PICKLES):
        return _from_pickle(read_pickle(source, allowed_in_pickles(budget), budget))
    if start[8:9] == b"{":
        return _from_safetensors(file, file_bytes)
    kind = next((name for mark, name in STARTS.items() if start.lstrip().startswith(mark)), None)
    raise ModelError(
        f"This is {kind or 'no weight file that Protome knows'}. Choose the .pkl, .pt, .pth or .safetensors file of a "
        "published network, or the .pkl or .npz file of a body model.",
        code="checkpoint_kind",
    )


def _from_arrays(arrays: Mapping[str, LazyTensor]) -> Contents:
    if not is_body(arrays):
        raise ModelError("This file of numpy's arrays is no body model.", code="checkpoint_kind")
    return Contents(body_tensors(arrays), BODY)


def _from_pickle(value: Any) -> Contents:
    if isinstance(value, dict) and is_body(value):
        return Contents(body_tensors(value), BODY)
    network = value.get("G_ema") if isinstance(value, dict) else None
    if not isinstance(network, PickledObject):
        raise ModelError(
            "This pickle holds no G_ema, the averaged generator of a published network, and is no body model either.",
            code="checkpoint_kind",
        )
    state = network.state
    discriminator = value.get("D_ema")
    return Contents(
        module_tensors(network),
        network.class_name,
        _options(state.get("_init_kwargs")),
        _options(state.get("rendering_kwargs")),
        _side(state.get("neural_rendering_resolution")),
        module_tensors(discriminator) if isinstance(discriminator, PickledObject) else {},
    )


def _from_torch(value: Any) -> Contents:
    """A state dict, or the dictionary around one in TriPlaneNet's two kinds of files."""
    if not isinstance(value, dict):
        raise ModelError("This torch file holds no dictionary of tensors.", code="checkpoint_kind")
    if isinstance(value.get("G_ema"), dict):
        return Contents(
            _state_dict(value["G_ema"]),
            "TriPlaneGenerator",
            _options(value.get("init_kwargs")),
            latent_avg=_average(value.get("latent_avg")),
        )
    if isinstance(value.get("state_dict"), dict):
        tensors = _state_dict(value["state_dict"])
        return Contents(tensors, "TriPlaneNet" if "opts" in value else None)
    return Contents(_state_dict(value))


def _average(value: Any) -> LazyTensor | None:
    content = value.content if isinstance(value, NumpyArray) else value
    return content if isinstance(content, LazyTensor) else None


def _from_safetensors(file: BufferedIOBase, file_bytes: int) -> Contents:
    header = parse_header(file, file_bytes)
    tensors = {}
    for name, place in header.tensors.items():
        dtype = SAFETENSORS_DTYPES[place.element]
        storage = Storage(dtype, (place.stop - place.start) // dtype.itemsize)
        storage.place(ByteSource(file, place.start, place.stop))
        tensors[name] = LazyTensor(storage, 0, place.shape, contiguous_stride(place.shape))
    return Contents(tensors, notes=header.metadata)


def _state_dict(value: dict[Any, Any]) -> dict[str, LazyTensor]:
    tensors = {name: tensor for name, tensor in value.items() if isinstance(tensor, LazyTensor)}
    if not tensors or len(tensors) < len(value):
        odd = next((name for name in value if name not in tensors), None)
        raise ModelError(
            f"This torch file is no dictionary of tensors (it holds {ascii(odd)[:60]}).", code="checkpoint_kind"
        )
    if not all(isinstance(name, str) for name in tensors):
        refuse("a tensor's name in it is no text.")
    return tensors


def module_tensors(module: PickledObject) -> dict[str, LazyTensor]:
    """Parameters and buffers of a pickled torch module and the modules in it, by their names in a state dict.

    Raises:
        ModelError: It is nested deeper, or holds more, than any published network.
    """
    tensors: dict[str, LazyTensor] = {}
    waiting = [("", module, 0)]
    seen = 0
    while waiting:
        prefix, current, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_TENSORS or len(tensors) > MAX_TENSORS:
            refuse("its modules are nested deeper than any published network's.")
        for name, tensor in [*_parts(current, "_parameters"), *_parts(current, "_buffers")]:
            if isinstance(tensor, LazyTensor):
                tensors[f"{prefix}{name}"] = tensor
        for name, child in _parts(current, "_modules"):
            if isinstance(child, PickledObject):
                waiting.append((f"{prefix}{name}.", child, depth + 1))
    return tensors


def _parts(module: PickledObject, kind: str) -> list[tuple[str, Any]]:
    parts = module.state.get(kind, {})
    if not isinstance(parts, dict) or not all(isinstance(name, str) and len(name) <= MAX_TEXT for name in parts):
        refuse("a module in it has parts without names, or with endless ones.")
    return list(parts.items())


def _options(value: Any) -> dict[str, Any] | None:
    """Options as plain values, copied; None where there are none."""
    if not isinstance(value, dict):
        return None
    left = MAX_OPTIONS

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            refuse("its options are far more than any published network's.")
        if isinstance(value, dict):
            return {_printable(str(key)): copy(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [copy(one, depth + 1) for one in value]
        if isinstance(value, str):
            return _printable(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        return refuse("one of its options is neither a number nor a text.")

    copied: dict[str, Any] = copy(value, 0)
    return copied


def _printable(text: str) -> str:
    """Without what could steer a terminal, since options are shown in messages."""
    return "".join(character for character in text[:MAX_TEXT] if character.isprintable())


def _side(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= 2**14 else None
