# SPDX-License-Identifier: Apache-2.0
"""What holds for the repository as a whole: licences, sizes, and commands that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GPL = ("blender_addon/", "tests/blender/", "__init__.py")
GPL_TEST = "/test_addon_"
LARGEST_BYTES = 16 * 2**20
# Scripts that only hand on to the backend, with the command they add.
BACKEND_COMMANDS = {"scripts/protome.py": "", "scripts/batch_export.py": "batch"}
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def committed():
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode != 0:
        pytest.skip("this copy is no git checkout")
    return [name for name in listing.stdout.split("\0") if (ROOT / name).is_file()]


def test_every_source_file_names_its_licence_first(committed):
    for name in committed:
        if name.endswith((".py", ".sh")) or name == ".ci/run":
            licence = "GPL-3.0-or-later" if name.startswith(GPL) or GPL_TEST in name else "Apache-2.0"
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not text or f"# SPDX-License-Identifier: {licence}" in text.splitlines()[:2], name


def test_no_committed_file_is_too_large(committed):
    assert not [name for name in committed if (ROOT / name).stat().st_size > LARGEST_BYTES]


def test_both_licences_are_there_in_full():
    assert "Version 3, 29 June 2007" in (ROOT / "LICENSES" / "GPL-3.0-or-later.txt").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in (ROOT / "LICENSES" / "Apache-2.0.txt").read_text(encoding="utf-8")


def test_every_library_is_in_the_list_of_third_parties():
    notices = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8").lower().replace("pytorch", "torch")
    for path in ROOT.glob("requirements*.txt"):
        for name in re.findall(r"^([A-Za-z][\w-]*)", path.read_text(encoding="utf-8"), re.MULTILINE):
            known = {"bpy": "blender as a python module", "fake-bpy-module-4": "fake-bpy-module"}
            assert known.get(name, name.lower()) in notices, name


def test_every_file_that_the_documents_name_exists():
    for document in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for name in re.findall(r"\b(?:scripts|benchmarks|tests|docs|backend|blender_addon)/[\w./-]*\w\.\w+", text):
            assert (ROOT / name).is_file(), f"{document} names {name}"


def commands() -> set[tuple[str, ...]]:
    """Command lines in README's code blocks that start Protome."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    return {tuple(words) for words in lines if words and words[0].startswith(("python", ".venv"))}


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_readme_commands_have_the_options_that_readme_says(words):
    script = next(word for word in words if word.endswith(".py"))
    help_command = [sys.executable, script, "--help"]
    if script in BACKEND_COMMANDS and "setup" not in words:
        chosen = words[2:4] if words[2] == "models" else words[2:3]
        command = [BACKEND_COMMANDS[script]] if BACKEND_COMMANDS[script] else chosen
        help_command = [sys.executable, "-m", "backend", *command, "--help"]
    answer = subprocess.run(help_command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(^|[\s\[,]){re.escape(option)}\b", answer.stdout), f"{option} in {' '.join(words)}"
