# SPDX-License-Identifier: Apache-2.0
"""Everything that must hold before a change goes in: format, lint, types and all tests, real Blender included.

python3 scripts/test.py               all of it; makes the environments on first use
python3 scripts/test.py --only unit   one of: format, lint, types, unit, contract, end_to_end, blender
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

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
from protome import fetch_photo_models, say_to

ENVIRONMENT = ROOT / ".venv"
BLENDER_ENVIRONMENT = ROOT / ".venv-blender"
VALIDATOR = "gltf-validator@2.0.0-dev.3.10"
# The bpy wheels exist for these: 4.5 on Python 3.11, 5.2 on Python 3.13.
BLENDER_PYTHONS = ("3.11", "3.13")
PARTS = ("unit", "contract", "end_to_end")  # of "tests"; run alone only when asked for


def main() -> int:
    """Set up, run the checks and say how each ended; 0 only if all passed."""
    parser = argparse.ArgumentParser(description="Run Protome's checks and tests.")
    parser.add_argument("--only", choices=[*checks(ENVIRONMENT, BLENDER_ENVIRONMENT)], help="run one of them")
    only = parser.parse_args().only
    try:
        set_up(say_to(sys.stdout))
    except SetupError as error:
        print(f"test: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    closing_lines = []
    all_passed = True
    for name, command in checks(ENVIRONMENT, BLENDER_ENVIRONMENT).items():
        if name == only or (only is None and name not in PARTS):
            passed, closing_line = run(name, command)
            all_passed &= passed
            closing_lines.append(closing_line)
    print("\n" + "\n".join(closing_lines), flush=True)
    return 0 if all_passed else 1


def checks(environment: Path, blender_environment: Path) -> dict[str, list[str]]:
    """Each check's name and command; the parts of ``tests`` can be asked for alone."""
    python = str(environment_python(environment))
    pytest = [python, "-m", "pytest"]
    return {
        "format": [python, "-m", "ruff", "format", "--check", "."],
        "lint": [python, "-m", "ruff", "check", "."],
        "types": [python, "-m", "mypy"],
        "tests": [*pytest, "tests", "--ignore=tests/blender"],
        "unit": [*pytest, "tests/unit"],
        "contract": [*pytest, "tests/contract"],
        "end_to_end": [*pytest, "tests/end_to_end"],
        "blender": [str(environment_python(blender_environment)), "-m", "pytest", "tests/blender"],
    }


def set_up(say: Say) -> None:
    """Make both environments and fetch what the tests need.

    Raises:
        SetupError: With what to do about it.
    """
    requirements = [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
    if not is_ready(ENVIRONMENT, requirements):
        make_environment(ENVIRONMENT, requirements, say, imports=IMPORTS + " pytest beartype")
    fetch_photo_models(environment_python(ENVIRONMENT))
    mark_ready(ENVIRONMENT, requirements)
    blender_requirements = [ROOT / "requirements-blender.txt"]
    if not is_ready(BLENDER_ENVIRONMENT, blender_requirements):
        make_environment(BLENDER_ENVIRONMENT, blender_requirements, say, imports="pytest", versions=BLENDER_PYTHONS)
        mark_ready(BLENDER_ENVIRONMENT, blender_requirements)
    fetch_validator(say)
    say(1.0, "The environments are ready")


def fetch_validator(say: Say) -> None:
    """Install Khronos' glTF validator into .node; without npm its tests skip."""
    npm = shutil.which("npm")
    if npm is None:
        say(-1.0, "npm is missing: the glTF validator's tests will skip")
    elif not (ROOT / ".node" / "node_modules" / "gltf-validator").is_dir():
        say(-1.0, "Fetching the glTF validator")
        command = [npm, "install", "--no-save", "--silent", "--prefix", ".node", VALIDATOR]
        if subprocess.run(command, cwd=ROOT).returncode != 0:
            raise SetupError("npm could not install gltf-validator. Check the network and run the same command again.")


def run(name: str, command: list[str]) -> tuple[bool, str]:
    """Run one check, showing its output; returns whether it passed and its closing line."""
    print(f"\n== {name}", flush=True)
    process = subprocess.Popen(
        command, cwd=ROOT, env=child_environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    closing_line = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        if not line.startswith("[*]"):  # ruff's offer to repair comes after its result
            closing_line = line.strip(" =\n") or closing_line
    passed = process.wait() == 0
    return passed, f"{'ok' if passed else 'FAILED'} {name}: {closing_line}"


if __name__ == "__main__":
    sys.exit(main())
