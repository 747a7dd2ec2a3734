# SPDX-License-Identifier: Apache-2.0
"""Torch's first file format: five pickles, then the values of each storage. Official pickles hold one per tensor.

Source:
    EG3D.md section 3.4, found by looking at such files.
"""

from dataclasses import replace
from typing import Any

from backend.checkpoint.pickle_machine import Allowed, Budget, read_pickle
from backend.checkpoint.plain import STORAGE_DTYPES, Global, Storage
from backend.checkpoint.source import ByteSource, refuse

MAGIC = 0x1950A86A20F9469CFC6C
FORMAT = 1001
NOTHING = Allowed({})


def starts_like_legacy_stream(start: bytes) -> bool:
    """Whether a file's first bytes are those of such a stream: protocol 2 and the magic number."""
    return start.startswith(b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little"))


def read_legacy_stream(source: ByteSource, allowed: Allowed, budget: Budget) -> Any:
    """The value of a stream; tensors in it stay in the file.

    Args:
        source: The stream, to its end.
        allowed: What its value may name, beside storages.
        budget: Is spent.

    Raises:
        ModelError: The stream is damaged, of another byte order, or holds what is not allowed.
    """
    storages = StorageTable()
    if read_pickle(source, NOTHING, budget) != MAGIC or read_pickle(source, NOTHING, budget) != FORMAT:
        refuse("it is no torch file.")
    system = read_pickle(source, NOTHING, budget)
    if type(system) is not dict or system.get("little_endian") is not True:
        refuse("its numbers have another byte order than published networks have.")
    names = allowed.values | frozenset(STORAGE_DTYPES)
    value = read_pickle(source, replace(allowed, values=names, persistent=storages.announce), budget)
    keys = read_pickle(source, NOTHING, budget)
    _place_storages(source, storages.known, keys)
    return value


class StorageTable:
    """The storages that a pickle refers to, by their keys."""

    def __init__(self) -> None:
        self.known: dict[str, Storage] = {}

    def announce(self, reference: Any) -> Storage:
        """The storage of a persistent reference as torch writes it; not placed yet.

        Raises:
            ModelError: It refers to anything else, or to a known storage differently.
        """
        key, storage = _announced(reference)
        known = self.known.setdefault(key, storage)
        if (known.dtype, known.numel) != (storage.dtype, storage.numel):
            refuse("it announces the same values twice, differently.")
        return known


def _announced(reference: Any) -> tuple[str, Storage]:
    if type(reference) is not tuple or len(reference) not in (5, 6) or reference[0] != "storage":
        refuse("it refers to something outside of its pickle that is no plain storage.")
    kind, key, _, numel, *view = reference[1:]
    if type(key) is not str or not isinstance(kind, Global) or str(kind) not in STORAGE_DTYPES or any(view):
        refuse("it refers to an unusual storage.")
    if type(numel) is not int or numel < 0:
        refuse("it announces a number of values that is no natural number.")
    return key, Storage(STORAGE_DTYPES[str(kind)], numel)


def _place_storages(source: ByteSource, storages: dict[str, Storage], keys: Any) -> None:
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        refuse("it holds other values than it announces.")
    for key in keys:
        storage = storages[key]
        if source.read_integer(8) != storage.numel:
            refuse("it announces another number of values than it holds.")
        storage.place(source.skip(storage.numel * storage.dtype.itemsize))
    if source.remaining:
        refuse("there is something behind its values.")
