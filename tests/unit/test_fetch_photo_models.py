# SPDX-License-Identifier: Apache-2.0
import hashlib
import subprocess
import tarfile
import zipfile

import fetch_photo_models as fetch
import pytest
import torch

from backend.errors import ModelError
from backend.folders import PHOTO_MODELS, model_path
from tests.portraits import needs_photo_models

CONTENT = b"the weights"


def fake_source(monkeypatch, content=CONTENT):
    """One model whose file is plain bytes."""

    def convert(data):
        return {"bytes": torch.frombuffer(bytearray(data), dtype=torch.uint8)}, {"graph": "none"}

    source = fetch.Source(fetch.MEDIAPIPE, "inner/file.tflite", hashlib.sha256(content).hexdigest(), convert)
    monkeypatch.setattr(fetch, "SOURCES", {"face_mesh": source})
    return source


def archives(folder):
    """A wheel and a source package that hold one file."""
    wheel, source_package = folder / "package.whl", folder / "package.tar.gz"
    (folder / "file").write_bytes(CONTENT)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(folder / "file", "inner/file.tflite")
    with tarfile.open(source_package, "w:gz") as archive:
        archive.add(folder / "file", "inner/file.tflite")
    return wheel, source_package


def pip(monkeypatch, act):
    """Replaces pip by a function of the destination folder."""

    def run(command, **options):
        act(command[command.index("--dest") + 1], command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", run)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_every_photo_model_has_a_source():
    assert tuple(fetch.SOURCES) == PHOTO_MODELS


def test_members_of_both_kinds_of_archive_are_read(tmp_path):
    for archive in archives(tmp_path):
        assert fetch.read_member(archive, "inner/file.tflite") == CONTENT
        with pytest.raises(ModelError, match="does not hold"):
            fetch.read_member(archive, "inner/other.tflite")


def test_a_missing_model_is_downloaded_converted_and_then_left_alone(tmp_path, monkeypatch):
    source = fake_source(monkeypatch)
    wheel, _ = archives(tmp_path)
    calls = []

    def act(folder, command):
        calls.append(command)
        (tmp_path / "given.whl").write_bytes(wheel.read_bytes())
        (tmp_path / "given.whl").rename(f"{folder}/package.whl")

    pip(monkeypatch, act)
    assert fetch.main() == 0
    assert fetch.main() == 0
    assert len(calls) == 1
    assert {"--require-hashes", "--no-deps"} <= set(calls[0])
    tensors, metadata = fetch.read_weights(model_path("face_mesh"))
    assert tensors["bytes"].numpy().tobytes() == CONTENT
    assert metadata["source_sha256"] == source.sha256
    assert metadata["licence"] == "Apache-2.0"
    assert [path.name for path in model_path("face_mesh").parent.iterdir()] == ["face_mesh.safetensors"]


def test_another_file_than_expected_is_not_stored(monkeypatch):
    fake_source(monkeypatch)
    with pytest.raises(ModelError, match="not the expected file"):
        fetch.store("face_mesh", CONTENT + b"!")
    assert not model_path("face_mesh").exists()


def test_a_failing_download_says_why_in_one_line(monkeypatch, capsys):
    fake_source(monkeypatch)
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: No matching distribution found\n")
    monkeypatch.setattr(fetch.subprocess, "run", lambda command, **options: failed)
    assert fetch.main() == 1
    assert capsys.readouterr().err == (
        "pip could not download mediapipe==0.10.21: ERROR: No matching distribution found "
        "Check the connection and run set-up again.\n"
    )


@needs_photo_models
def test_fetched_models_are_recognised(monkeypatch):
    monkeypatch.delenv("PROTOME_HOME")
    assert all(fetch.is_present(name) for name in PHOTO_MODELS)
