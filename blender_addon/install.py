# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the worker's Python is, and the child process that makes it when the user asks for it.

The environment is made by ``scripts/protome.py setup``, run by a Python of the system; nothing is installed into
Blender's own Python, and nothing is fetched before a person has pressed the button.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import pipe
from .client import Command, clean_environment, end_tree, start_child
from .errors import SetupError

ROOT = Path(__file__).resolve().parent.parent
PYTHON_VERSIONS = ("3.11", "3.12", "3.13")
CHECK_TIMEOUT_S = 20.0
PROGRESS_LINE = re.compile(r"protome-setup: ([0-9.]+) (.*)")
ERROR_LINE = re.compile(r"protome: (.*)")
NOT_SET_UP = "Protome's worker is not set up. Press Set Up in the Protome tab, or choose its Python in the preferences."

State = Literal["ready", "outdated", "missing"]


@dataclass(frozen=True)
class Places:
    """Where an installation keeps its things.

    Args:
        chosen_python: Interpreter from the preferences; None when the user left that to Protome.
        user_folder: Folder that survives updates; environment and logs lie in it.
        models_folder: For the worker's models; None leaves the worker's default.
    """

    chosen_python: Path | None
    user_folder: Path
    models_folder: Path | None = None

    @property
    def environment(self) -> Path:
        """Folder of the environment that Set Up makes."""
        return self.user_folder / "environment"

    @property
    def worker_log(self) -> Path:
        """What the worker writes to stderr."""
        return self.user_folder / "worker.log"

    @property
    def times(self) -> Path:
        """What the worker has learnt of this machine's speed."""
        return self.user_folder / "times.json"

    @property
    def kept_heads(self) -> Path:
        """Folder of the heads that could not be brought in."""
        return self.user_folder / "heads"

    @property
    def setup_log(self) -> Path:
        """What the set-up writes to stderr."""
        return self.user_folder / "setup.log"


def environment_python(folder: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment_state(places: Places) -> State:
    """Whether a worker can be started; cheap enough for a panel's ``draw``."""
    if places.chosen_python:
        return "ready" if places.chosen_python.is_file() else "missing"
    if _is_finished(places.environment):
        return "ready"
    if environment_python(ROOT / ".venv").is_file():
        return "ready"
    return "outdated" if any(places.environment.glob("protome-requirements-*")) else "missing"


def _is_finished(folder: Path) -> bool:
    """Whether the set-up left its mark for these very requirements."""
    requirements = ROOT / "requirements.txt"
    if not (requirements.is_file() and environment_python(folder).is_file()):
        return False
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return (folder / f"protome-requirements-{digest[:16]}").is_file()


def worker_python(places: Places) -> Path:
    """The interpreter that runs the worker.

    Raises:
        SetupError: There is none yet, or it does not fit any more.
    """
    if places.chosen_python and not places.chosen_python.is_file():
        raise SetupError(f"There is no Python at {places.chosen_python}. Correct the path in Protome's preferences.")
    if environment_state(places) != "ready":
        raise SetupError(NOT_SET_UP)
    if places.chosen_python:
        return places.chosen_python
    folder = places.environment if _is_finished(places.environment) else ROOT / ".venv"
    return environment_python(folder)


def worker_command(places: Places) -> Command:
    """How the worker is started.

    Raises:
        SetupError: Its Python is missing.
    """
    additions = {
        "PYTHONPYCACHEPREFIX": str(places.user_folder / "pycache"),
        "PROTOME_TIMES": str(places.times),
    }
    if places.models_folder:
        additions["PROTOME_HOME"] = str(places.models_folder)
    arguments = (str(worker_python(places)), "-m", "backend", "worker")
    return Command(arguments, ROOT, places.worker_log, additions)


def base_python() -> str:
    """A Python of the system that can make environments; Blender's own is the last choice.

    Raises:
        SetupError: There is none.
    """
    for program in _python_programs():
        if _can_make_environments(program):
            return program
    versions = ", ".join(PYTHON_VERSIONS)
    raise SetupError(f"Protome needs Python {versions} for its worker. Install it from python.org, then press Set Up.")


def _python_programs() -> Iterator[str]:
    names = [f"python{version}" for version in PYTHON_VERSIONS] + ["python3", "python"]
    for name in names:
        if found := shutil.which(name):
            yield found
    yield sys.executable


def _can_make_environments(program: str) -> bool:
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [program, "-c", code],
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT_S,
            env=clean_environment({}),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() in PYTHON_VERSIONS


class Setup:
    """A running set-up.

    Args:
        places: Where to.
        python: Interpreter that runs the script.

    Raises:
        WorkerEnded: The Python cannot be started.
    """

    def __init__(self, places: Places, python: str) -> None:
        script = ROOT / "scripts" / "protome.py"
        arguments = (python, str(script), "--env", str(places.environment), "setup")
        additions = {
            "PYTHONPYCACHEPREFIX": str(places.user_folder / "pycache"),
            "PROTOME_TIMES": str(places.times),
        }
        if places.models_folder:
            additions["PROTOME_HOME"] = str(places.models_folder)
        self.fraction = 0.0
        self.text = "Starting"
        self._log = places.setup_log
        self._log.unlink(missing_ok=True)
        self._incoming = b""
        self.process = start_child(Command(arguments, ROOT, self._log, additions), has_input=False)

    def poll(self) -> bool:
        """Take up news without waiting; True when the set-up has finished well.

        Raises:
            SetupError: It has failed; the message is its own.
        """
        try:
            while data := pipe.read_available(self.process.stdout.fileno()):
                self._incoming += data
        except EOFError:
            return self._finish()
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in lines:
            if match := PROGRESS_LINE.match(line.decode(errors="replace")):
                self.fraction, self.text = min(float(match[1]), 1.0), match[2]
        return False

    def _finish(self) -> bool:
        status = self.process.wait()
        self.close()
        if status == 0:
            return True
        errors = ERROR_LINE.findall(self._log.read_text(errors="replace"))
        raise SetupError(errors[-1] if errors else f"The set-up ended with status {status}. Open its log to see why.")

    def close(self) -> None:
        """Stop it; what was installed stays and the next set-up goes on from there."""
        end_tree(self.process)
