# SPDX-License-Identifier: Apache-2.0
import errno

import pytest
import torch
from safetensors.torch import load_file

from backend import models
from backend.errors import ModelError
from backend.folders import model_path
from backend.models import ELEMENTS, content_hash, read_weights, write_weights


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    tensors = {"half": torch.arange(40).half().reshape(5, 8), "single": torch.randn(3), "whole": torch.tensor([7])}
    write_weights(model_path("face_mesh"), tensors, {"licence": "CC0-1.0"})
    return tensors


def code_of(name):
    with pytest.raises(ModelError) as raised:
        read_weights(model_path(name))
    assert "fetch_photo_models" in str(raised.value)
    return raised.value.code


def test_weights_come_back_as_written(weights):
    loaded, metadata = read_weights(model_path("face_mesh"))
    assert loaded.keys() == weights.keys()
    for name, tensor in weights.items():
        assert loaded[name].dtype == tensor.dtype
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)
    assert metadata["licence"] == "CC0-1.0"


def test_missing_weights_say_how_to_get_them(weights):
    assert code_of("face_detector") == "model_missing"


def test_one_changed_bit_is_noticed(weights):
    path = model_path("face_mesh")
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(bytes(data))
    assert code_of("face_mesh") == "model_damaged"


@pytest.mark.parametrize("length", [0, 4, 50, -1])
def test_a_part_of_a_file_is_noticed(weights, length):
    path = model_path("face_mesh")
    path.write_bytes(path.read_bytes()[:length])
    assert code_of("face_mesh") == "model_damaged"


def test_other_files_are_noticed(weights):
    model_path("face_mesh").write_bytes(b"PK\x03\x04" * 100)
    assert code_of("face_mesh") == "model_damaged"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(weights, monkeypatch):
    path = model_path("face_mesh")
    before = path.read_bytes()

    def fill_the_disk(file, tensors, metadata):
        file.write(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(models, "_write", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        write_weights(path, {"one": torch.zeros(2)}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_files_are_those_that_the_formats_own_library_reads(tmp_path):
    every = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in ELEMENTS}
    every |= {
        "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 3),
        "turned": torch.randn(3, 5).T,
        "name ü": torch.ones(1),
    }
    write_weights(tmp_path / "all.safetensors", every, {"note": "ü"})
    loaded = load_file(tmp_path / "all.safetensors")
    assert loaded.keys() == every.keys()
    assert all(torch.equal(loaded[name], every[name]) and loaded[name].dtype == every[name].dtype for name in every)


def test_the_hash_knows_names_shapes_and_values():
    tensor = torch.arange(6).float()
    hashes = {
        content_hash({"a": tensor}),
        content_hash({"b": tensor}),
        content_hash({"a": tensor.reshape(2, 3)}),
        content_hash({"a": tensor.half()}),
        content_hash({"a": tensor + 1}),
    }
    assert len(hashes) == 5
    assert content_hash({"a": tensor, "b": tensor}) == content_hash({"b": tensor, "a": tensor})


def test_damaged_weights_that_a_user_brought_are_to_be_added_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    model_path("ffhq").parent.mkdir()
    model_path("ffhq").write_bytes(b"x")
    with pytest.raises(ModelError, match="models remove"):
        read_weights(model_path("ffhq"))
