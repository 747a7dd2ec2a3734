# SPDX-License-Identifier: Apache-2.0
"""Files in the making, and what is left of them when their process is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.cli import main
from backend.partial_file import partial_path, remove_abandoned

ROOT = Path(__file__).resolve().parents[2]
# Writes a model that never ends: its tensor's bytes are asked for and do not come.
WRITER = """
import sys, time
from pathlib import Path
import torch
from backend import models

def stuck(tensor):
    print("writing", flush=True)
    time.sleep(600)

models.content_hash = lambda tensors: ""
models._bytes = stuck
models.write_weights(Path(sys.argv[1]), {"w": torch.zeros(3)}, {}, is_new=True)
"""


@pytest.fixture
def writer(tmp_path, monkeypatch):
    """A process in the middle of writing a model, and the models folder."""
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    folder = tmp_path / "models"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder / "half.safetensors")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().strip() == "writing"
        yield process, folder
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_writer_leaves_is_removed_by_the_next_command(writer, capsys):
    process, folder = writer
    left = folder / f"half.safetensors.{process.pid}.partial"
    assert main(["models", "list"]) == 0 and left.exists()  # Its process is at work.
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left.exists()
    assert main(["models", "list"]) == 0
    assert not list(folder.iterdir())
    assert left.name in capsys.readouterr().err


def test_only_files_in_the_making_are_removed(tmp_path):
    kept = [tmp_path / name for name in ("model.safetensors", "notes.partial", f"model.{os.getppid()}.partial")]
    gone = [partial_path(tmp_path / "model.safetensors"), tmp_path / f"model.{10**30}.partial"]
    for path in kept + gone:
        path.write_text("x")
    assert sorted(remove_abandoned(tmp_path)) == sorted(gone)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path):
    assert remove_abandoned(tmp_path / "none") == []
