# SPDX-License-Identifier: Apache-2.0
"""Writes small FlatBuffers files for the tests of their reader: plain, front to back, without sharing."""

import struct
from dataclasses import dataclass

import numpy as np


@dataclass
class Number:
    """A scalar field."""

    layout: str
    value: int


def write_flatbuffer(table, identifier=b"TFL3"):
    """The file of a table, given as field number to ``Number``, string, array, table (dict) or list of tables."""
    data = bytearray(struct.pack("<I", 8) + identifier)
    struct.pack_into("<I", data, 0, _write_table(data, table))
    return bytes(data)


def _write_table(data, table):
    """Appends a vtable, the table and all it points to; returns the table's position."""
    while len(data) % 4:
        data.append(0)
    count = max(table, default=-1) + 1
    vtable, start = len(data), len(data) + 4 + 2 * count + (2 * count) % 4
    offsets, inline = [0] * count, bytearray(struct.pack("<i", start - vtable))
    for index, value in table.items():
        offsets[index] = len(inline)
        inline += struct.pack("<i", 0)
        if isinstance(value, Number):
            struct.pack_into(value.layout, inline, offsets[index], value.value)
    data += struct.pack(f"<{2 + count}H", 4 + 2 * count, len(inline), *offsets)
    data += bytes(start - len(data)) + inline
    for index, value in table.items():
        if not isinstance(value, Number):
            slot = start + offsets[index]
            target = _write_value(data, value)
            struct.pack_into("<I", data, slot, target - slot)
    return start


def _write_value(data, value):
    if isinstance(value, dict):
        return _write_table(data, value)
    while len(data) % 4:
        data.append(0)
    position = len(data)
    if isinstance(value, list):
        data += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for item, table in enumerate(value):
            slot = position + 4 + 4 * item
            struct.pack_into("<I", data, slot, _write_table(data, table) - slot)
        return position
    array = np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else np.asarray(value)
    data += struct.pack("<I", len(array)) + array.tobytes()
    return position
