# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding and making the worker's Python, without Blender."""

import hashlib
import sys
import time
from pathlib import Path

import pytest

from blender_addon import install
from blender_addon.errors import SetupError

SCRIPT = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--env") + 1])
print("protome-setup: 0.25 Downloading torch", flush=True)
print("a line of another program")
print("protome-setup: 0.50 Installing 12 packages", flush=True)
if {fails}:
    print("protome: The disk is full. Free about 3 GB.", file=sys.stderr)
    sys.exit(1)
folder.mkdir()
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An extension folder of our own."""
    folder = tmp_path / "extension"
    (folder / "scripts").mkdir(parents=True)
    (folder / "requirements.txt").write_text("torch\n")
    monkeypatch.setattr(install, "ROOT", folder)
    return folder


@pytest.fixture
def places(tmp_path):
    return install.Places(chosen_python=None, user_folder=tmp_path / "user data")


def make_environment(folder):
    python = install.environment_python(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def finish(folder, requirements):
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    (folder / f"protome-requirements-{digest[:16]}").touch()


def test_nothing_is_there_at_first(root, places):
    assert install.environment_state(places) == "missing"
    with pytest.raises(SetupError, match="Press Set Up"):
        install.worker_python(places)


def test_a_half_made_environment_does_not_count(root, places):
    python = make_environment(places.environment)
    assert install.environment_state(places) == "missing"
    finish(places.environment, root / "requirements.txt")
    assert install.environment_state(places) == "ready"
    assert install.worker_python(places) == python


def test_an_environment_for_other_requirements_is_outdated(root, places):
    make_environment(places.environment)
    finish(places.environment, root / "requirements.txt")
    (root / "requirements.txt").write_text("torch==9\n")
    assert install.environment_state(places) == "outdated"


def test_a_checkout_s_own_environment_will_do(root, places):
    python = make_environment(root / ".venv")
    assert install.worker_python(places) == python


def test_the_chosen_python_comes_first(root, places):
    make_environment(root / ".venv")
    chosen = install.Places(Path(sys.executable), places.user_folder)
    assert install.worker_python(chosen) == Path(sys.executable)
    missing = install.Places(root / "nothing", places.user_folder)
    assert install.environment_state(missing) == "missing"
    with pytest.raises(SetupError, match="There is no Python at"):
        install.worker_python(missing)


def test_the_worker_runs_in_the_extension_and_writes_elsewhere(root, places):
    make_environment(root / ".venv")
    command = install.worker_command(install.Places(None, places.user_folder, Path("/models")))
    assert command.arguments[1:] == ("-m", "backend", "worker") and command.folder == root
    assert command.environment["PROTOME_HOME"] == "/models"
    assert command.environment["PYTHONPYCACHEPREFIX"].startswith(str(places.user_folder))
    assert command.environment["PROTOME_TIMES"] == str(places.times)
    assert places.user_folder in command.log.parents


def test_a_python_that_makes_environments_is_found():
    assert install.base_python()


def test_without_any_fitting_python_the_message_names_the_versions(monkeypatch):
    monkeypatch.setattr(install, "_python_programs", lambda: iter(["/no/python", "/bin/false"]))
    with pytest.raises(SetupError, match=r"3\.11, 3\.12, 3\.13"):
        install.base_python()


def run_setup(places):
    setup, seen = install.Setup(places, sys.executable), []
    end_s = time.monotonic() + 20
    while not setup.poll():
        assert time.monotonic() < end_s
        seen.append((setup.fraction, setup.text))
        time.sleep(0.01)
    return seen


def test_set_up_reports_progress_and_makes_the_environment(root, places):
    (root / "scripts" / "protome.py").write_text(SCRIPT.format(fails=False) + "time.sleep(0.2)\n")
    assert (0.5, "Installing 12 packages") in run_setup(places)
    assert places.environment.is_dir()


def test_a_failed_set_up_gives_the_script_s_own_reason(root, places):
    (root / "scripts" / "protome.py").write_text(SCRIPT.format(fails=True))
    with pytest.raises(SetupError, match=r"^The disk is full\. Free about 3 GB\.$"):
        run_setup(places)


def test_a_set_up_that_ends_without_a_word_points_to_its_log(root, places):
    (root / "scripts" / "protome.py").write_text("raise SystemExit(7)")
    with pytest.raises(SetupError, match=r"status 7\. Open its log"):
        run_setup(places)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_set_up_can_be_stopped(root, places):
    """With the pip that it has started."""
    (root / "scripts" / "protome.py").write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(f'protome-setup: 0.1 {child.pid}', flush=True)\n"
        "child.wait()\n"
    )
    setup = install.Setup(places, sys.executable)
    while setup.text == "Starting":
        setup.poll()
    pip = int(setup.text)
    setup.close()
    assert setup.process.poll() is not None
    end_s = time.monotonic() + 10
    while is_running(pip):
        assert time.monotonic() < end_s, "pip goes on"
        time.sleep(0.01)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
