# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension in a real ``bpy``: built, installed from its zip, with a worker that answers at once."""

import gc
import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

if importlib.util.find_spec("bpy"):
    sys.path.insert(0, str(HERE))
    from headless import MODULE, bpy, new_file
else:
    collect_ignore_glob = ["test_*.py"]  # These need the bpy module, see requirements-blender.txt.


def pytest_sessionfinish(session, exitstatus):
    session.config.protome_status = int(exitstatus)


def pytest_unconfigure(config):
    """Leave at once: bpy may crash (4.2) or hang (4.5) while the interpreter shuts down."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "bpy" in sys.modules:
        os._exit(getattr(config, "protome_status", 1))


@pytest.fixture(scope="session")
def build_extension():
    spec = importlib.util.spec_from_file_location("build_extension", ROOT / "scripts" / "build_extension.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def extension_zip(build_extension, tmp_path_factory):
    return build_extension.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def installed(extension_zip):
    """Installed the way a user does it."""
    done = bpy.ops.extensions.package_install_files(
        filepath=str(extension_zip), repo="user_default", enable_on_install=True, overwrite=True
    )
    assert done == {"FINISHED"}
    return sys.modules[MODULE]


@pytest.fixture(scope="session")
def fake_python(tmp_path_factory):
    """A program that takes a Python's place in the preferences and runs the fake worker."""
    program = tmp_path_factory.mktemp("python") / "python with blanks"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fake_worker.py"}"\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def addon(installed, fake_python, tmp_path, monkeypatch):
    """The add-on, enabled in an empty scene, its worker the fake one."""
    monkeypatch.setenv("PROTOME_FAKE_REQUESTS", str(tmp_path / "requests.jsonl"))
    new_file()
    bpy.context.preferences.addons[MODULE].preferences.python = str(fake_python)
    package = sys.modules[f"{MODULE}.blender_addon"]
    monkeypatch.setattr(package.install.Places, "kept_heads", tmp_path / "kept")
    yield package
    package.job.stop()
    gc.collect()


@pytest.fixture
def photo(tmp_path):
    """Writes a picture whose name decides what the fake worker does."""

    def write(name="Zoë 1"):
        path = tmp_path / f"{name}.png"
        path.write_bytes(b"the fake worker does not read it")
        return str(path)

    return write


@pytest.fixture
def head(addon, photo):
    """A head made by the fake worker."""
    assert bpy.ops.protome.invert(filepath=photo()) == {"FINISHED"}
    return bpy.context.object
