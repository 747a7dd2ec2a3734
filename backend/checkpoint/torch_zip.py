# SPDX-License-Identifier: Apache-2.0
"""Torch's zip files (``.pt``, ``.pth``): one pickle, and one uncompressed entry for each storage.

Nothing is ever unpacked; an entry is a stretch of the file. Entries' names are never used as paths, yet a name that
could leave a folder is refused, since torch writes none.

Source:
    APPNOTE.TXT, the zip specification, for the local header.
"""

import struct
import zipfile
from dataclasses import replace
from io import BufferedIOBase
from pathlib import PurePosixPath
from typing import Any

from backend.checkpoint.legacy_stream import StorageTable
from backend.checkpoint.pickle_machine import Budget, read_pickle
from backend.checkpoint.plain import STORAGE_DTYPES, Storage
from backend.checkpoint.rebuild import PLAIN
from backend.checkpoint.source import ByteSource, cut_short, refuse
from backend.checkpoint.zip_directory import zip_directory

LOCAL_HEADER = struct.Struct("<4s5H3I2H")


def read_torch_zip(file: BufferedIOBase, file_bytes: int, budget: Budget) -> Any:
    """The value of a zip file of torch; tensors in it stay in the file.

    Raises:
        ModelError: The file is damaged, or is more than torch writes.
    """
    entries = _entries(file, file_bytes)
    pickles = [name for name in entries if PurePosixPath(name).name == "data.pkl"]
    if len(pickles) != 1:
        refuse("it is a zip file, but none that torch.save wrote.")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in entries:
        refuse("it is a TorchScript program; only plain weights can be added.")
    order = entries.get(f"{folder}byteorder")
    if order is not None and (len(order) > 6 or order.read(len(order)) != b"little"):
        refuse("its numbers have another byte order than published networks have.")
    storages = _PlacedStorages(entries, folder)
    allowed = replace(PLAIN, values=PLAIN.values | frozenset(STORAGE_DTYPES), persistent=storages.announce)
    return read_pickle(entries[pickles[0]], allowed, budget)


class _PlacedStorages(StorageTable):
    """Storages that are entries of the file.

    Args:
        entries: By name.
        folder: Of the pickle, with a slash behind it.
    """

    def __init__(self, entries: dict[str, ByteSource], folder: str) -> None:
        super().__init__()
        self._entries = entries
        self._folder = folder

    def announce(self, reference: Any) -> Storage:
        """As in any stream, and placed."""
        storage = super().announce(reference)
        data = self._entries.get(f"{self._folder}data/{reference[2]}")
        if data is None:
            cut_short()
        storage.place(data)
        return storage


def _entries(file: BufferedIOBase, file_bytes: int) -> dict[str, ByteSource]:
    entries: dict[str, ByteSource] = {}
    for info in zip_directory(file):
        _check(info)
        if not info.is_dir():
            entries[info.filename] = _stored_data(file, file_bytes, info)
    if sum(map(len, entries.values())) > file_bytes:
        refuse("its zip entries overlap.")
    return entries


def _check(info: zipfile.ZipInfo) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        refuse("its zip file is compressed, which torch.save never does.")


def _stored_data(file: BufferedIOBase, file_bytes: int, info: zipfile.ZipInfo) -> ByteSource:
    """Behind the entry's own header, which has to agree with the directory."""
    whole = ByteSource(file, 0, file_bytes)
    whole.skip(info.header_offset)
    signature, *_, name_bytes, extra_bytes = LOCAL_HEADER.unpack(whole.read(LOCAL_HEADER.size))
    name = whole.read(name_bytes)
    if signature != b"PK\x03\x04" or name != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
        refuse("an entry of its zip file is another one than its directory says.")
    whole.skip(extra_bytes)
    return whole.skip(info.file_size)
