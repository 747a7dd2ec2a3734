# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.errors import ModelError
from backend.head import Slider
from backend.models import write_weights
from backend.portrait_model.plane_codes import PlaneDirection
from backend.portrait_model.slider_file import read_sliders, sliders_path, write_sliders

DIRECTIONS = [
    PlaneDirection(Slider("Jaw width", "Shape", -2.0, 2.5), np.arange(8, dtype=np.float32).reshape(2, 4)),
    PlaneDirection(Slider("Alter", "Person", -1.0, 1.0), -np.ones((2, 4), np.float32)),
]


def test_sliders_come_back_as_they_were_kept(tmp_path):
    write_sliders(tmp_path / "a.safetensors", DIRECTIONS, generator_id="eg3d-1")
    back = read_sliders(tmp_path / "a.safetensors", generator_id="eg3d-1")
    assert [one.slider for one in back] == [one.slider for one in DIRECTIONS]
    for one, other in zip(back, DIRECTIONS, strict=True):
        np.testing.assert_array_equal(one.ws, other.ws)


def test_sliders_of_another_generator_are_refused(tmp_path):
    write_sliders(tmp_path / "a.safetensors", DIRECTIONS, generator_id="eg3d-1")
    with pytest.raises(ModelError, match="fitted to another model") as caught:
        read_sliders(tmp_path / "a.safetensors", generator_id="eg3d-2")
    assert caught.value.code == "other_sliders"


def test_a_file_of_something_else_says_so(tmp_path):
    write_weights(tmp_path / "a.safetensors", {}, {"generator": "eg3d-1", "sliders": "[{}]"})
    with pytest.raises(ModelError, match="damaged"):
        read_sliders(tmp_path / "a.safetensors", generator_id="eg3d-1")


def test_they_lie_beside_the_model(monkeypatch, tmp_path):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    assert sliders_path("My EG3D") == tmp_path / "models" / "My EG3D.sliders.safetensors"
