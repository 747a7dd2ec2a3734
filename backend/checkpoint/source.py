# SPDX-License-Identifier: Apache-2.0
"""A stretch of a file, read piece by piece; nothing is read before it is asked for, and never more than is there."""

from io import BufferedIOBase, BytesIO
from typing import NoReturn, no_type_check

from backend.errors import ModelError

MAX_LINE_BYTES = 256


@no_type_check  # Asked twice for each instruction of a pickle; the tests' check would take most of their time.
class ByteSource:
    """Bytes ``start`` to ``stop`` of an open file, with a place in them.

    Args:
        file: Open for reading in binary; its own position does not matter.
        start: First byte.
        stop: One behind the last byte.
    """

    def __init__(self, file: BufferedIOBase, start: int, stop: int) -> None:
        self._file = file
        self._start = self._at = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    def again(self) -> "ByteSource":
        """The same stretch, from its start."""
        return ByteSource(self._file, self._start, self._stop)

    @property
    def remaining(self) -> int:
        """Bytes behind the current place."""
        return self._stop - self._at

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes.

        Raises:
            ModelError: There are not so many.
        """
        if not 0 <= count <= self._stop - self._at:
            cut_short()
        self._file.seek(self._at)
        data = self._file.read(count)
        if len(data) != count:
            cut_short()
        self._at += count
        return data

    def read_integer(self, count: int) -> int:
        """The next ``count`` bytes as a whole number, least significant byte first."""
        return int.from_bytes(self.read(count), "little")

    def read_line(self) -> str:
        """The text up to the next line feed."""
        self._file.seek(self._at)
        line = self._file.readline(min(MAX_LINE_BYTES, self.remaining))
        if not line.endswith(b"\n"):
            cut_short()
        self._at += len(line)
        return line[:-1].decode("utf-8")

    def read_long_line(self) -> bytes:
        """The bytes up to the next line feed, however far it is."""
        self._file.seek(self._at)
        line = self._file.readline(self.remaining)
        if not line.endswith(b"\n"):
            cut_short()
        self._at += len(line)
        return line[:-1]

    def skip(self, count: int) -> "ByteSource":
        """Step over ``count`` bytes; they stay where they are and can be read later."""
        if not 0 <= count <= self._stop - self._at:
            cut_short()
        self._at += count
        return ByteSource(self._file, self._at - count, self._at)

    def part(self, start: int, count: int) -> bytearray:
        """``count`` bytes from ``start`` on, counted from this stretch's own start; the place does not change."""
        if start < 0 or count < 0 or start + count > len(self):
            cut_short()
        data = bytearray(count)
        self._file.seek(self._start + start)
        if self._file.readinto(data) != count:
            cut_short()
        return data


def in_memory(data: bytes) -> ByteSource:
    """Bytes that are in no file any more as a source."""
    return ByteSource(BytesIO(data), 0, len(data))


def cut_short() -> NoReturn:
    """Refuse a file that announces more than it holds.

    Raises:
        ModelError: Always.
    """
    raise ModelError(
        "The file ends too early: it announces more than it holds. Download it again.", code="checkpoint_damaged"
    )


def refuse(reason: str) -> NoReturn:
    """Refuse a file that a published network would not write.

    Args:
        reason: A sentence.

    Raises:
        ModelError: Always.
    """
    raise ModelError(f"The file is refused: {reason}", code="checkpoint_unsafe")
