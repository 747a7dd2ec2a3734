# SPDX-License-Identifier: Apache-2.0
"""Reads FlatBuffers tables and FlexBuffers maps: what a TensorFlow Lite file is made of.

Source:
    The layouts described in the FlatBuffers documentation, "FlatBuffer Internals" and "FlexBuffers".
"""

import struct
from dataclasses import dataclass

import numpy as np

UNSIGNED = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
SIGNED = {1: "<b", 2: "<h", 4: "<i", 8: "<q"}
FLOATING = {2: "<e", 4: "<f", 8: "<d"}


def _number(data: bytes, position: int, layout: str) -> int | float:
    value: int | float = struct.unpack_from(layout, data, position)[0]
    return value


def _offset(data: bytes, position: int) -> int:
    return position + int(_number(data, position, "<I"))


@dataclass(frozen=True)
class Table:
    """One table of a FlatBuffers file; fields are addressed by their number in the schema."""

    data: bytes
    position: int

    def _field(self, index: int) -> int | None:
        """Where a field lies, or None when the file leaves it out."""
        vtable = self.position - int(_number(self.data, self.position, "<i"))
        entry = 4 + 2 * index
        if entry >= _number(self.data, vtable, "<H"):
            return None
        offset = int(_number(self.data, vtable + entry, "<H"))
        return self.position + offset if offset else None

    def integer(self, index: int, layout: str = "<i", default: int = 0) -> int:
        """An integer field; ``layout`` is its ``struct`` format."""
        field = self._field(index)
        return default if field is None else int(_number(self.data, field, layout))

    def table(self, index: int) -> "Table | None":
        """A nested table, or None when absent."""
        field = self._field(index)
        return None if field is None else Table(self.data, _offset(self.data, field))

    def tables(self, index: int) -> list["Table"]:
        """A vector of tables, empty when absent."""
        field = self._field(index)
        if field is None:
            return []
        vector = _offset(self.data, field)
        count = int(_number(self.data, vector, "<I"))
        return [Table(self.data, _offset(self.data, vector + 4 + 4 * item)) for item in range(count)]

    def array(self, index: int, dtype: type[np.generic] = np.int32) -> np.ndarray:
        """A vector of numbers, empty when absent."""
        field = self._field(index)
        if field is None:
            return np.zeros(0, dtype)
        vector = _offset(self.data, field)
        return np.frombuffer(self.data, dtype, int(_number(self.data, vector, "<I")), vector + 4)

    def text(self, index: int) -> str:
        """A string, empty when absent."""
        return self.array(index, np.uint8).tobytes().decode()


def root_table(data: bytes) -> Table:
    """The table that a FlatBuffers file starts with."""
    return Table(data, _offset(data, 0))


def flexbuffer_map(data: bytes) -> dict[str, object]:
    """A FlexBuffers map of numbers and number vectors.

    Raises:
        ValueError: The root is no map, or a value has another type.
    """
    root_width, root_type = data[-1], data[-2]
    value = _flex_value(data, len(data) - 2 - root_width, root_width, root_type)
    if not isinstance(value, dict):
        raise ValueError("the FlexBuffers root is no map")
    return value


def _flex_value(data: bytes, position: int, width: int, packed_type: int) -> object:
    """Value whose slot of ``width`` bytes lies at ``position``; the low two bits of the type are a child width."""
    kind, child_width = packed_type >> 2, 1 << (packed_type & 3)
    direct = {1: SIGNED, 2: UNSIGNED, 3: FLOATING, 26: UNSIGNED}
    typed_vectors = {11: SIGNED, 12: UNSIGNED, 13: FLOATING}
    if kind in direct:
        return _number(data, position, direct[kind][width])
    start = position - int(_number(data, position, UNSIGNED[width]))
    if kind in typed_vectors:
        layout = typed_vectors[kind][child_width]
        count = int(_number(data, start - child_width, UNSIGNED[child_width]))
        return [_number(data, start + child_width * item, layout) for item in range(count)]
    if kind == 9:
        return _flex_map(data, start, child_width)
    raise ValueError(f"FlexBuffers type {kind} is not supported")


def _flex_map(data: bytes, start: int, width: int) -> dict[str, object]:
    """Map whose values start at ``start``; before them lie the keys' offset, the keys' width and the count."""
    count = int(_number(data, start - width, UNSIGNED[width]))
    key_width = int(_number(data, start - 2 * width, UNSIGNED[width]))
    keys_slot = start - 3 * width
    keys = keys_slot - int(_number(data, keys_slot, UNSIGNED[width]))
    types = start + count * width
    entries: dict[str, object] = {}
    for item in range(count):
        slot = keys + item * key_width
        text = slot - int(_number(data, slot, UNSIGNED[key_width]))
        name = data[text : data.index(0, text)].decode()
        entries[name] = _flex_value(data, start + item * width, width, data[types + item])
    return entries
