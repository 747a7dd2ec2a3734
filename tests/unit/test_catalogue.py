# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend import catalogue
from backend.catalogue import installed_models, is_whole, read_metadata
from backend.errors import ModelError, SettingsError
from backend.folders import model_path
from backend.models import read_weights, write_weights
from backend.protocol import Model
from tests.checkpoints import HOSTILE_SAFETENSORS


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


@pytest.mark.parametrize("what", HOSTILE_SAFETENSORS)
def test_hostile_headers_are_damaged_for_the_header_reader_and_for_the_weights_reader(tmp_path, what):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE_SAFETENSORS[what])
    for read in (read_metadata, read_weights):
        with pytest.raises(ModelError) as caught:
            read(path)
        assert caught.value.code == "model_damaged"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    for name, notes in {
        "Zoë": {"family": "eg3d", "licence": "own", "commercial_use": "yes", "id": "own-1"},
        "ffhq": {"family": "panohead"},
        "ids": {"family": "arcface"},
        "face_mesh": {"source": "elsewhere"},
    }.items():
        write_weights(model_path(name), {"a": torch.zeros(2)}, notes)
    model_path("broken").write_bytes(b"x")
    model_path("face_identity").write_bytes(b"x")
    model_path("half").with_suffix(".partial").write_bytes(b"x")


def test_generators_are_told_from_helpers_and_from_everything_else(home):
    generators = catalogue.installed_generators()
    assert [one.name for one in generators] == ["starter", "Zoë", "ffhq"]
    assert [one.family for one in generators] == ["starter", "eg3d", "panohead"]
    assert installed_models()[1:] == [Model("Zoë", "own", "yes"), Model("ffhq", "unknown", "unknown")]
    assert [one.name for one in catalogue.installed_helpers()] == ["ids"]
    assert [name for name, _ in catalogue.damaged_models()] == ["broken"]


def test_an_id_is_the_files_own_or_follows_from_its_content(home):
    assert catalogue.find_generator("Zoë").metadata["id"] == "own-1"
    content = read_metadata(model_path("ffhq"))["sha256"]
    assert catalogue.find_generator("ffhq").metadata["id"] == f"panohead-{content[:16]}"


@pytest.mark.parametrize("name", ["other", "face_mesh", "ids", "half", "../models/Zoë", ""])
def test_what_is_no_generator_is_not_found(home, name):
    with pytest.raises(SettingsError) as caught:
        catalogue.find_generator(name)
    assert caught.value.code == "unknown_model"


def test_a_damaged_generator_says_so(home):
    with pytest.raises(ModelError, match="damaged"):
        catalogue.find_generator("broken")
