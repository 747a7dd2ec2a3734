# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backend import doctor
from backend.folders import PHOTO_MODELS, model_path
from backend.models import write_weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "starter_path", lambda: model_path("starter"))
    for name in (*PHOTO_MODELS, "starter"):
        write_weights(model_path(name), {"a": torch.ones(3)}, {})
    return tmp_path / "models"


def findings():
    return {finding.name: finding for finding in doctor.examine()}


def test_complete_installation_is_good(models, capsys):
    assert doctor.main(as_json=False) == 0
    assert "MISSING" not in capsys.readouterr().out
    assert {"Protome", "Python", "numpy", "torch", "starter generator", "face mesh", "Blender"} <= findings().keys()


def test_missing_and_damaged_weights_are_named(models, capsys):
    model_path("starter").unlink()
    content = bytearray(model_path("face_mesh").read_bytes())
    content[-1] ^= 1
    model_path("face_mesh").write_bytes(content)
    assert doctor.main(as_json=True) == 2
    bad = {
        finding["name"]: finding["text"] for finding in json.loads(capsys.readouterr().out) if not finding["is_good"]
    }
    assert bad.keys() == {"starter generator", "face mesh"}
    assert "missing" in bad["starter generator"] and "damaged" in bad["face mesh"]


def test_blender_is_found_but_not_needed(models, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "_blender_commands", lambda: iter([]))
    assert findings()["Blender"].is_good and "not found" in findings()["Blender"].text
    for command in (tmp_path / "nowhere", tmp_path):
        monkeypatch.setattr(doctor, "_blender_commands", lambda command=command: iter([str(command)]))
        assert "does not answer" in findings()["Blender"].text


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for Blender")
def test_blender_tells_its_version(models, tmp_path, monkeypatch):
    (tmp_path / "blender").write_text("#!/bin/sh\necho Blender 4.5.15\necho build date\n")
    (tmp_path / "blender").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert findings()["Blender"].text == f"Blender 4.5.15 at {tmp_path / 'blender'}"


def test_doctor_works_without_any_package(models):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from backend.doctor import main; sys.exit(main(as_json=True))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == ""
    bad = {finding["name"] for finding in json.loads(done.stdout) if not finding["is_good"]}
    assert {"torch", "numpy", "pillow"} <= bad and "Python" not in bad and "face mesh" not in bad
