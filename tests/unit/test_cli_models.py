# SPDX-License-Identifier: Apache-2.0
"""``protome models`` as a person or a script meets it."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backend import cli, doctor
from backend.catalogue import installed_models
from backend.folders import model_path, models_folder
from backend.models import read_weights, write_weights
from tests.checkpoints import FACES, INIT, network_state

ROOT = Path(__file__).resolve().parents[2]


class Keyboard(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ffhq tiny.pth"
    torch.save({"G_ema": network_state(), "init_kwargs": {**INIT, "rendering_kwargs": FACES}}, path)
    return path


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.main(["models", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def added(capsys, file):
    assert run(capsys, "add", file, "--name", "Büste", "--accept-licence")[0] == 0
    return "Büste"


def test_a_script_has_to_accept_the_licence_that_it_is_shown(capsys, file):
    code, out, err = run(capsys, "add", file)
    assert code == 2 and "non-commercial" in out and "--accept-licence" in out
    assert err == "protome: ffhq tiny.pth was not added, because its licence was not accepted.\n"
    code, out, err = run(capsys, "add", file, "--accept-licence")
    assert (code, err) == (0, "") and "NVIDIA Source Code License for EG3D" in out
    assert 'Added “ffhq tiny” (eg3d): protome invert PHOTO --model "ffhq tiny" -o head.glb' in out


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 2), ("\n", 2), ("", 2), ("yeah\n", 2)])
def test_a_person_is_asked(capsys, monkeypatch, file, answer, code):
    monkeypatch.setattr(sys, "stdin", Keyboard(answer))
    done, out, _ = run(capsys, "add", file)
    assert done == code and "Do you accept these terms? [y/N]" in out
    assert model_path("ffhq tiny").exists() == (code == 0)


def test_list_and_show_tell_family_and_terms(capsys, added):
    model_path("broken").write_bytes(b"x")
    lines = run(capsys, "list")[1].splitlines()
    assert lines[0].split()[:2] == ["NAME", "FAMILY"]
    assert [line.split()[:3] for line in lines[1:]][:2] == [["starter", "starter", "yes"], ["Büste", "eg3d", "no"]]
    assert lines[3].split() == ["broken", "damaged", "0", "MB"]
    code, out, _ = run(capsys, "show", added)
    assert code == 0 and "commercial use: no" in out and "source file: ffhq tiny.pth" in out
    assert "summary" in out and "licence accepted: 20" in out
    assert run(capsys, "show", "starter")[0] == 0
    code, _, err = run(capsys, "show", "other")
    assert code == 2 and "there is: starter, Büste" in err


def test_notes_of_a_model_cannot_steer_a_terminal(capsys, added):
    tensors, metadata = read_weights(model_path(added))
    write_weights(model_path(added), tensors, metadata | {"source_file": "net\x1b[2J\u202e.pkl"})
    out = run(capsys, "show", added)[1]
    assert "source file: net[2J.pkl" in out and "\x1b" not in out


def test_the_worker_and_the_doctor_see_added_models(capsys, added):
    assert [(model.name, model.commercial_use) for model in installed_models()] == [("starter", "yes"), (added, "no")]
    model_path("broken").write_bytes(b"x")
    findings = {finding.name: finding for finding in doctor.examine()}
    assert "commercial use no" in findings["model Büste"].text
    assert "damaged" in findings["model broken"].text and findings["model broken"].is_good


def test_verify_looks_at_all_or_at_one(capsys, added):
    code, out, _ = run(capsys, "verify")
    assert code == 0 and [line.split(":")[0] for line in out.splitlines()] == ["starter", added]
    path = model_path(added)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, _, err = run(capsys, "verify", added)
    assert code == 2 and "damaged" in err


def test_remove_asks_unless_told_not_to(capsys, monkeypatch, added):
    code, _, err = run(capsys, "remove", added)
    assert code == 2 and "--yes" in err and model_path(added).exists()
    monkeypatch.setattr(sys, "stdin", Keyboard("n\n"))
    assert run(capsys, "remove", added)[1].endswith("Nothing was deleted.\n")
    monkeypatch.setattr(sys, "stdin", Keyboard("y\n"))
    assert run(capsys, "remove", added)[0] == 0 and list(models_folder().iterdir()) == []
    code, _, err = run(capsys, "remove", "starter", "--yes")
    assert code == 2 and "stays" in err


def test_damaged_models_can_be_removed_and_helpers_of_protome_cannot(capsys, added):
    model_path("broken").write_bytes(b"x")
    model_path("face_mesh").write_bytes(b"x")
    assert run(capsys, "remove", "broken", "--yes")[0] == 0
    assert run(capsys, "remove", "face_mesh", "--yes")[0] == 2
    assert model_path("face_mesh").exists() and not model_path("broken").exists()


@pytest.mark.parametrize("name", ["../ffhq", "/etc/passwd", "", "a/b"])
def test_names_never_leave_the_folder(capsys, tmp_path, added, name):
    (models_folder().parent / "ffhq.safetensors").write_bytes(model_path(added).read_bytes())
    for command in (("show", name), ("remove", name, "--yes"), ("verify", name)):
        assert run(capsys, *command)[0] == 2
    assert (models_folder().parent / "ffhq.safetensors").exists()


def test_export_writes_what_can_be_added_again(capsys, tmp_path, added):
    code, out, _ = run(capsys, "export", added, "--format", "eg3d-state-dict", "-o", tmp_path / "out.pth")
    assert code == 0 and out.endswith(f"{tmp_path / 'out.pth'}\n")
    assert torch.load(tmp_path / "out.pth", weights_only=True).keys() == network_state().keys()
    code, _, err = run(capsys, "export", "starter", "-o", tmp_path / "starter.pth")
    assert code == 2 and "canonical space" in err and not (tmp_path / "starter.pth").exists()


def test_models_are_listed_without_torch(tmp_path):
    """In the time of a keystroke, also where torch is broken."""
    script = "import sys; sys.modules['torch'] = None; from backend.cli import main; sys.exit(main(['models', 'list']))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "starter" in done.stdout, done.stderr
