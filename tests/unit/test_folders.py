# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

from backend.folders import home_folder, model_path, models_folder


def test_the_variable_moves_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "models"
    assert model_path("face_mesh") == tmp_path / "models" / "face_mesh.safetensors"


def test_each_platform_has_its_own_place(monkeypatch):
    monkeypatch.delenv("PROTOME_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("LOCALAPPDATA", "C:/Users/a/AppData/Local")
    places = {}
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        places[platform] = home_folder()
    assert places == {
        "linux": Path.home() / ".local" / "share" / "protome",
        "darwin": Path.home() / "Library" / "Application Support" / "Protome",
        "win32": Path("C:/Users/a/AppData/Local/Protome"),
    }
