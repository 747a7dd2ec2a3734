# SPDX-License-Identifier: Apache-2.0
"""The table of contents of a zip file, refused where it is no plain one.

Entries' names are never used as paths, yet a name that could leave a folder is refused, since no tool that writes
weights writes one.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import PurePosixPath

from backend.checkpoint.source import refuse
from backend.errors import ModelError

MAX_DIRECTORY_BYTES = 2**22  # Of a checkpoint with 5 000 tensors: 400 kB.
ENCRYPTED = 0x1
# All that zipfile was seen to raise over damaged stored and deflated entries.
DAMAGE = (
    zipfile.BadZipFile,  # A header, a directory or a checksum that is wrong.
    zlib.error,  # Deflated data that are none.
    NotImplementedError,  # A version or a flag that zipfile does not know.
    EOFError,  # The file ends within an entry.
    ValueError,  # A name that is no text, or an entry before the file's beginning.
    OSError,  # An entry at no place a file can have.
)


def zip_directory(file: BufferedIOBase) -> list[zipfile.ZipInfo]:
    """All entries, each name once; nothing but the directory is read.

    Raises:
        ModelError: The file is damaged, or its directory holds what no published file has.
    """
    with damage_is_told(), zipfile.ZipFile(_ShortReads(file)) as archive:
        infos = archive.infolist()
    if len({info.filename for info in infos}) < len(infos):
        refuse("its zip directory names an entry twice.")
    for info in infos:
        _check(info)
    return infos


@contextmanager
def damage_is_told() -> Iterator[None]:
    """Turns what zipfile raises over a damaged file into a refusal.

    Raises:
        ModelError: In place of ``DAMAGE``.
    """
    try:
        yield
    except DAMAGE as error:
        raise ModelError(
            "The zip file is damaged or not downloaded whole. Download it again.", code="checkpoint_damaged"
        ) from error


class _ShortReads:
    """The file as the directory's reader sees it; a directory of an absurd size is refused before it is read."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._file = file

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(min(count, MAX_DIRECTORY_BYTES + 1) if count >= 0 else MAX_DIRECTORY_BYTES + 1)
        if len(data) > MAX_DIRECTORY_BYTES:
            refuse("its zip directory is far larger than any published network's.")
        return data


def _check(info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
        refuse("a name in its zip directory leaves the folder.")
    if stat.S_ISLNK(info.external_attr >> 16):
        refuse("its zip file holds a link.")
    if info.flag_bits & ENCRYPTED:
        refuse("its zip file is encrypted.")
