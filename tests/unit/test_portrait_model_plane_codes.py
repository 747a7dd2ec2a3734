# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.errors import SettingsError
from backend.head import Slider
from backend.portrait_model.plane_codes import PlaneCodes, PlaneDirection, move

WS = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_codes_survive_being_kept():
    offset, change = np.ones((3, 2, 4, 4), np.float32), np.full((5,), 2.0, np.float32)
    for codes in (PlaneCodes(WS, 0.4), PlaneCodes(WS, 0.4, offset, {"decoder.net.0.weight": change})):
        arrays = codes.to_arrays()
        back = PlaneCodes.from_arrays(arrays | {"photo_mask": np.zeros(3)})
        assert back.metres_per_unit == 0.4 and set(back.to_arrays()) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(back.to_arrays()[name], array)


def test_codes_without_a_scale_are_incomplete():
    with pytest.raises(KeyError, match="metres_per_unit"):
        PlaneCodes.from_arrays({"ws": WS})


def test_sliders_add_their_directions_and_nothing_else():
    directions = [PlaneDirection(Slider(name, "Shape", -2, 2), scale * WS) for name, scale in (("A", 1), ("B", 0.1))]
    codes = PlaneCodes(WS, 0.4, np.ones((3, 2, 4, 4), np.float32))
    moved = move(codes, directions, {"A": 2.0, "B": -1.0})
    np.testing.assert_allclose(moved.ws, 2.9 * WS, rtol=1e-6)
    assert moved.plane_offset is codes.plane_offset and moved.metres_per_unit == 0.4
    with pytest.raises(SettingsError, match="no slider “C”; there are A, B"):
        move(codes, directions, {"C": 1.0})
