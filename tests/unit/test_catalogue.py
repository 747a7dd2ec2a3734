# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend import catalogue
from backend.catalogue import installed_models, is_whole, read_metadata
from backend.errors import ModelError
from backend.models import write_weights
from backend.protocol import Model


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "starter.safetensors"
    metadata = {"licence": "Apache-2.0", "commercial_use": "yes"}
    write_weights(path, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)}, metadata)
    return path


def test_metadata_is_read_without_torch(weights):
    assert read_metadata(weights)["licence"] == "Apache-2.0"


def test_installed_models_are_those_that_are_whole(weights, monkeypatch):
    monkeypatch.setattr(catalogue, "starter_path", lambda: weights)
    assert installed_models() == [Model("starter", "Apache-2.0", "yes")]
    weights.unlink()
    assert installed_models() == []


@pytest.mark.parametrize("damage", [b"", b"\x08", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}x"])
def test_damaged_files_are_told_from_whole_ones(weights, damage):
    assert is_whole(weights)
    weights.write_bytes(damage)
    with pytest.raises(ModelError, match="damaged") as caught:
        read_metadata(weights)
    assert caught.value.code == "model_damaged" and not is_whole(weights)


def test_cut_and_grown_files_are_damaged(weights):
    content = weights.read_bytes()
    for changed in (content[:-1], content + b"x"):
        weights.write_bytes(changed)
        assert not is_whole(weights)
