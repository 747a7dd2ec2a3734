# SPDX-License-Identifier: Apache-2.0
"""Protome's command line: makes its own Python environment on first use, then runs the backend in it.

python3 scripts/protome.py invert --sample -o head.glb
python3 scripts/protome.py invert PHOTO -o head.glb
python3 scripts/protome.py setup
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "Protome needs Python 3.11, 3.12 or 3.13, and this is " + sys.version.split()[0] + ". Install one of them."
    )

import argparse
import os
import subprocess
from pathlib import Path
from typing import TextIO

from environment import (
    IMPORTS,
    ROOT,
    Say,
    SetupError,
    child_environ,
    environment_python,
    is_ready,
    make_environment,
    mark_ready,
)

REQUIREMENTS = [ROOT / "requirements.txt"]
USAGE = """\
usage: protome.py [--env DIR] COMMAND ...

  setup       only make or repair the environment and fetch the photo models
  COMMAND     any command of the backend: invert, resynthesize, batch, models, doctor, worker
              (protome.py COMMAND --help says more)
  --env DIR   folder of the environment; .venv beside this project otherwise
"""


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--env", type=Path, default=ROOT / ".venv")
    options, command = parser.parse_known_args(arguments)
    if not command or command[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if command else 2
    folder = options.env.expanduser().resolve()
    try:
        if command[0] == "setup":
            set_up(folder, say_to(sys.stdout))
            return 0
        if not is_ready(folder, REQUIREMENTS):
            set_up(folder, say_to(sys.stderr))
        return run_backend(folder, command)
    except SetupError as error:
        print(f"protome: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("protome: stopped. The same command goes on where it stopped.", file=sys.stderr)
        return 130


def set_up(folder: Path, say: Say) -> None:
    """Make the environment and fetch the photo models; what is there already is kept.

    Raises:
        SetupError: With what to do about it.
    """
    python = make_environment(folder, REQUIREMENTS, say, imports=IMPORTS)
    say(0.92, "Fetching the face detection models")
    fetch_photo_models(python)
    say(0.98, "Timing this machine")
    time_machine(python)
    mark_ready(folder, REQUIREMENTS)
    say(1.0, "Protome is ready")


def fetch_photo_models(python: Path) -> None:
    """Take the third-party photo weights into the models folder.

    Raises:
        SetupError: They could not be fetched.
    """
    script = ROOT / "scripts" / "fetch_photo_models.py"
    fetched = subprocess.run([python, script], capture_output=True, text=True, env=child_environ(PYTHONPATH=str(ROOT)))
    if fetched.returncode != 0:
        lines = (fetched.stdout + fetched.stderr).strip().splitlines() or ["no reason was given"]
        raise SetupError(f"The face detection models could not be fetched: {lines[-1]}")


def time_machine(python: Path) -> None:
    """Let Protome tell how long a head takes before the first one; where this fails, the first run does it."""
    code = "from backend.config import Settings; from backend.estimate import forecast; forecast(Settings(), 1)"
    subprocess.run([python, "-c", code], capture_output=True, env=child_environ(PYTHONPATH=str(ROOT)), cwd=ROOT)


def run_backend(folder: Path, command: list[str]) -> int:
    """Run ``python -m backend`` in the environment, in the current folder; returns its exit code."""
    # -P keeps files of the current folder from shadowing Protome's modules.
    line = [str(environment_python(folder)), "-P", "-m", "backend", *command]
    environ = child_environ(PYTHONPATH=str(ROOT))
    if os.name != "nt":
        sys.stdout.flush()
        os.execve(line[0], line, environ)  # Signals and the exit code are then the backend's own.
    return subprocess.call(line, env=environ)


def say_to(stream: TextIO) -> Say:
    """Progress as lines ``protome-setup: FRACTION TEXT``; a fraction below the last one repeats the last."""
    highest = 0.0

    def say(fraction: float, text: str) -> None:
        nonlocal highest
        highest = max(highest, fraction)
        print(f"protome-setup: {highest:.2f} {text}", file=stream, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
