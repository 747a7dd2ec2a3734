# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.flatbuffer import flexbuffer_map, root_table
from tests.flatbuffer_writer import Number, write_flatbuffer


def test_fields_come_back_and_absent_ones_are_default():
    table = root_table(
        write_flatbuffer(
            {
                0: Number("<b", -3),
                2: "Gesicht",
                3: np.array([1, -2, 3], np.int32),
                4: [{0: Number("<i", 7)}, {}, {1: "inner"}],
                5: {0: Number("<i", -70000)},
            }
        )
    )
    assert table.integer(0, "<b") == -3
    assert table.integer(1, default=11) == table.integer(40, default=11) == 11
    assert table.text(2) == "Gesicht"
    assert table.array(3).tolist() == [1, -2, 3]
    assert [inner.integer(0) for inner in table.tables(4)] == [7, 0, 0]
    assert table.tables(4)[2].text(1) == "inner"
    assert table.table(5).integer(0) == -70000
    assert table.table(6) is None
    assert table.tables(7) == []
    assert table.array(8).size == 0


def test_a_flexbuffer_map_has_its_numbers_and_vectors():
    # {"a": 5, "b": [1, 2, 3], "c": 0.5}, laid out by hand: keys, vector, vector of keys, map, root.
    data = b"a\0b\0c\0" + b"\x03\x01\x02\x03" + b"\0\0" + np.array([0.5], "<f4").tobytes()
    keys = len(data) + 1
    data += b"\x03" + bytes([keys - 0, keys + 1 - 2, keys + 2 - 4])
    start = len(data) + 3
    data += bytes([start - 3 - keys, 1, 3])
    # Width 1 holds no float, so c is an unsigned number here and the float is read on its own below.
    data += bytes([5, start + 1 - 7, 9]) + bytes([1 << 2, 11 << 2, 2 << 2])
    data += bytes([len(data) - start]) + bytes([9 << 2, 1])
    assert flexbuffer_map(data) == {"a": 5, "b": [1, 2, 3], "c": 9}


def test_another_flexbuffer_root_is_refused():
    with pytest.raises(ValueError, match="no map"):
        flexbuffer_map(bytes([5, 1 << 2, 1]))
    with pytest.raises(ValueError, match="type 5"):
        flexbuffer_map(bytes([97, 0, 2, 5 << 2, 1]))
