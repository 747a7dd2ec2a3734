# SPDX-License-Identifier: Apache-2.0
"""Adding a checkpoint to the models folder: read, identified, accepted, converted, and there whole or not at all."""

import errno
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from backend import __version__
from backend.catalogue import SUBJECTS
from backend.checkpoint.contents import open_contents
from backend.checkpoint.identify import Identified, identify
from backend.checkpoint.licences import Licence, licence_of
from backend.checkpoint.plain import LazyTensor
from backend.checkpoint.source import refuse
from backend.errors import ModelError, SettingsError
from backend.folders import PHOTO_MODELS, model_path, models_folder
from backend.models import write_weights
from backend.output import output_error

MAX_NAME = 64
# Names that one of the systems or Protome itself takes.
RESERVED = {"starter", *PHOTO_MODELS, "con", "prn", "aux", "nul"}
RESERVED |= {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
SPARE_BYTES = 2**20

Accept = Callable[[Licence], bool]


@dataclass(frozen=True)
class Added:
    """A model that was just added.

    Args:
        name: What the user calls it.
        path: Its file.
        family: Of its network.
        licence: That was accepted.
        remarks: Sentences on what the checkpoint did not say.
        subject: What it makes, one of `catalogue.SUBJECTS`.
    """

    name: str
    path: Path
    family: str
    licence: Licence
    remarks: list[str]
    subject: str = SUBJECTS[0]


def add_model(
    file: Path,
    *,
    accept: Accept,
    name: str | None = None,
    generator: Path | None = None,
    subject: str | None = None,
) -> Added:
    """Convert a published checkpoint and put it into the models folder.

    Args:
        file: The checkpoint.
        accept: Shows a licence to the user; whether it is accepted.
        name: What to call it; the file's name when omitted.
        generator: File of the generator, for TriPlaneNet.
        subject: What the generator makes, one of `catalogue.SUBJECTS`; found in the file when omitted.

    Raises:
        ModelError: The file is refused, damaged or none of our networks, or the licence is not accepted.
        SettingsError: The name cannot be used or is taken.
        OutputError: The models folder cannot be written.
    """
    chosen = free_name(name if name is not None else file.stem)
    with ExitStack() as files:
        contents = files.enter_context(open_contents(file))
        of_generator = files.enter_context(open_contents(generator)) if generator else None
        found = identify(contents, of_generator, subject=subject)
        _check_bytes(found, [one for one in (file, generator) if one])
        licence = licence_of(found.family, contents.notes, is_official=contents.class_name is not None)
        if not accept(licence):
            raise ModelError(
                f"{file.name} was not added, because its licence was not accepted.", code="licence_not_accepted"
            )
        _check_room(chosen, found)
        tensors = {key: _finite(key, tensor) for key, tensor in found.tensors.items()}
        source = {"source_file": file.name, "source_sha256": _file_hash(file)}
    path = model_path(chosen)
    try:
        write_weights(path, tensors, _metadata(found, licence) | source, is_new=True)
    except FileExistsError as error:
        raise _taken(chosen) from error  # By another `models add` meanwhile.
    except OSError as error:
        raise output_error(path, error) from error
    return Added(chosen, path, found.family, licence, found.remarks, found.subject)


def free_name(name: str) -> str:
    """A name in its normal form, if a model can be called so.

    Raises:
        SettingsError: It is empty, too long, no plain file name, reserved or taken.
    """
    normal = unicodedata.normalize("NFC", name).strip()
    plain = re.fullmatch(r"[\w][\w .()+-]*", normal) and not normal.endswith(".")
    # Windows takes the part before a dot, blanks and raised digits away, as the device's name.
    device = unicodedata.normalize("NFKC", normal).split(".")[0].strip().casefold()
    if device in RESERVED:
        raise SettingsError(
            f"A model cannot be called {ascii(name)[:80]}, because that name is taken by Protome or by Windows. Choose "
            "another --name.",
            code="bad_name",
        )
    if not plain or len(normal.encode()) > MAX_NAME:
        raise SettingsError(
            f"A model cannot be called {ascii(name)[:80]}. Choose letters, digits, blanks and - _ . + ( ) with --name.",
            code="bad_name",
        )
    taken = {unicodedata.normalize("NFC", path.stem).casefold() for path in models_folder().glob("*.safetensors")}
    if normal.casefold() in taken:
        raise _taken(normal)
    return normal


def _taken(name: str) -> SettingsError:
    return SettingsError(
        f"There is already a model “{name}”. Choose another --name, or remove that one first.", code="name_taken"
    )


def _finite(name: str, tensor: LazyTensor) -> Tensor:
    """Values of a tensor in single precision; counters stay whole numbers."""
    values = tensor.read()
    if not values.is_floating_point():
        return values
    single = values.to(torch.float32)
    if not torch.isfinite(single).all():
        raise ModelError(
            f"The tensor {name} holds values that are no finite numbers (NaN or infinity). Choose another file.",
            code="checkpoint_values",
        )
    return single


def _metadata(found: Identified, licence: Licence) -> dict[str, str]:
    config = {}
    if found.config is not None:
        config = {"config": json.dumps(found.config.to_dict()), "subject": found.subject}
    return config | {
        "family": found.family,
        "licence": licence.name,
        "licence_text": licence.text,
        "licence_accepted": datetime.now(UTC).isoformat(timespec="seconds"),
        "commercial_use": licence.commercial_use,
        "converter": f"Protome {__version__}",
    }


def _check_bytes(found: Identified, files: list[Path]) -> None:
    """Tensors that share their values could be many times larger than the files that hold them."""
    needed = sum(tensor.numel * tensor.storage.dtype.itemsize for tensor in found.tensors.values())
    try:
        held = sum(one.stat().st_size for one in files)
    except OSError as error:
        raise _gone(files[0], error) from error
    if needed > 2 * held:
        refuse("its tensors are together far larger than the file.")


def _check_room(name: str, found: Identified) -> None:
    """Find out before minutes of work whether the disk has room."""
    folder = models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        needed = SPARE_BYTES + sum(4 * tensor.numel for tensor in found.tensors.values())
        if shutil.disk_usage(folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise output_error(model_path(name), error) from error


def _file_hash(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise _gone(file, error) from error


def _gone(file: Path, error: OSError) -> ModelError:
    return ModelError(f"{file.name} is gone: {error.strerror}.", code="checkpoint_changed")
