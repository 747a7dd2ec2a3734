# SPDX-License-Identifier: Apache-2.0
"""A virtual environment of Protome's own: made on first use, taken up again after an interruption.

Standard library only, so that any supported Python can run it.
"""

import hashlib
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13")  # The last one has to compile PyMCubes, which carries no wheel for it.
IMPORTS = "torch numpy scipy skimage mcubes trimesh embreex xatlas fast_simplification safetensors PIL jaxtyping"
SILENCE_S = 15.0

Say = Callable[[float, str], None]


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def environment_python(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def child_environ(**extra: str) -> dict[str, str]:
    """Environment variables for a Python that must not see the caller's, Blender's for one."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    return environ | {"PYTHONUTF8": "1"} | extra


def find_python(versions: Sequence[str] = SUPPORTED) -> list[str]:
    """Command of an installed Python; this one if it will do, the last of the versions only for want of others.

    Raises:
        SetupError: There is none.
    """
    current = _version_of([sys.executable]) or ""
    order = [current, *versions] if current in versions[:-1] else versions
    for version in order:
        for command in _python_commands(version):
            if _version_of(command) == version:
                return command
    raise SetupError(
        f"Protome needs Python {' or '.join(versions)}, and this is {sys.version.split()[0]}. "
        f"Install Python {versions[0]} and run the same command with it."
    )


def _python_commands(version: str) -> Iterator[list[str]]:
    yield [sys.executable]
    yield [f"python{version}"]
    if os.name == "nt":
        yield ["py", f"-{version}"]


def _version_of(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([*command, "-c", code], capture_output=True, text=True, env=child_environ())
    return answer.stdout.strip() if answer.returncode == 0 else None


def is_ready(folder: Path, requirements: Sequence[Path]) -> bool:
    """Whether the environment was finished with exactly these requirements and still starts."""
    return all(_marker(folder, path).is_file() for path in requirements) and _starts(folder)


def make_environment(
    folder: Path,
    requirements: Sequence[Path],
    say: Say,
    *,
    imports: str = "",
    versions: Sequence[str] = SUPPORTED,
) -> Path:
    """Make or repair a virtual environment and install requirement files into it.

    A half-made environment is taken up where it stopped, a broken one is made again. Call ``mark_ready`` when
    all other set-up is done too.

    Args:
        folder: Where it goes; empty, missing or an environment.
        requirements: Files in pip's format.
        say: Receives a fraction from 0 to 1 and a line of text.
        imports: Modules that must be importable at the end, separated by blanks.
        versions: Python versions that will do.

    Returns:
        The environment's interpreter.

    Raises:
        SetupError: With what to do about it.
    """
    if not is_ready(folder, requirements):
        if not _starts(folder):
            _create(folder, find_python(versions), say)
        _install(folder, requirements, say)
    if not _imports(folder, imports):
        say(0.0, f"The environment in {folder} is damaged and is made again")
        _create(folder, find_python(versions), say)
        _install(folder, requirements, say)
        if not _imports(folder, imports):
            raise SetupError(f"The packages were installed but do not load: {_import_failure(folder, imports)}")
    return environment_python(folder)


def mark_ready(folder: Path, requirements: Sequence[Path]) -> None:
    """Note that the set-up is finished; the last thing it does."""
    for path in requirements:
        marker = _marker(folder, path)
        for old in folder.glob(f"protome-{path.stem}-{'?' * 16}"):
            if old != marker:
                old.unlink()
        marker.touch()


def _marker(folder: Path, requirements: Path) -> Path:
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return folder / f"protome-{requirements.stem}-{digest[:16]}"


def _starts(folder: Path) -> bool:
    python = environment_python(folder)
    if not (python.is_file() and (folder / "pyvenv.cfg").is_file()):
        return False
    try:
        return subprocess.run([python, "-I", "-c", "import pip"], capture_output=True).returncode == 0
    except OSError:
        return False


def _create(folder: Path, command: list[str], say: Say) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise SetupError(f"{folder} holds other files. Choose an empty folder for the environment with --env.")
    say(0.01, f"Making a Python environment in {folder}")
    made = subprocess.run(
        [*command, "-m", "venv", "--clear", folder], capture_output=True, text=True, env=child_environ()
    )
    if made.returncode == 0:
        return
    words = made.stdout + made.stderr
    if "ensurepip" in words:
        raise SetupError("This Python cannot make environments. On Debian and Ubuntu: sudo apt install python3-venv")
    raise SetupError(f"The environment in {folder} could not be made: {_last_line(words)}")


def _install(folder: Path, requirements: Sequence[Path], say: Say) -> None:
    pip = [str(environment_python(folder)), "-m", "pip", "install", "--retries", "3", "--progress-bar", "off"]
    pip += ["--no-input", "--disable-pip-version-check", "--prefer-binary"]
    for path in requirements:
        pip += ["-r", str(path)]
    say(0.05, "Asking the package index for " + " and ".join(path.name for path in requirements))
    log: list[str] = []
    packages = 0
    for line in _lines(pip, say):
        log.append(line)
        packages += line.startswith("Collecting ")
        text = _readable(line)
        if text:
            say(0.85 if text.startswith("Installing") else 0.05 + 0.75 * packages / (packages + 15), text)
    if log[-1] != "0":
        (folder / "setup.log").write_text("\n".join(log), encoding="utf-8")
        raise SetupError(_install_failure("\n".join(log), folder))
    say(0.9, "The packages are installed")


def _lines(command: list[str], say: Say) -> Iterator[str]:
    """What a command prints, line by line, and its exit code as the last line; long silences are reported."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=child_environ()
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read_lines, args=(process, lines), daemon=True)
    reader.start()
    start = time.monotonic()
    try:
        while (line := _next_line(lines, say, start)) is not None:
            yield line
    finally:
        if process.poll() is None:
            process.terminate()
        reader.join()
    yield str(process.returncode)


def _next_line(lines: "queue.SimpleQueue[str | None]", say: Say, start: float) -> str | None:
    while True:
        try:
            return lines.get(timeout=SILENCE_S)
        except queue.Empty:
            say(-1.0, f"Still working, {time.monotonic() - start:.0f} s")


def _read_lines(process: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str | None]") -> None:
    with process:
        for line in process.stdout or ():
            lines.put(line.rstrip())
    lines.put(None)


def _readable(line: str) -> str | None:
    """The pip lines that a person wants to see."""
    if match := re.match(r"\s*(Downloading|Using cached) (\S+\.(?:whl|tar\.gz|zip))( \(.*\))?", line):
        name = re.sub(r"-(cp|py)\d.*", "", match[2].rsplit("/", 1)[-1])
        return f"{match[1]} {name}{match[3] or ''}"
    if line.startswith("Installing collected packages"):
        return f"Installing {line.count(',') + 1} packages"
    return None


def _install_failure(log: str, folder: Path) -> str:
    if re.search(
        r"NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|name resolution|new connection", log
    ):
        return (
            "The package index cannot be reached. Check the network, or the proxy in HTTPS_PROXY, "
            "and run the same command again: it goes on where it stopped."
        )
    if "No space left on device" in log:
        return "The disk is full. Free about 3 GB (10 GB with CUDA), or choose another place with --env, and try again."
    errors = re.findall(r"^ERROR: (.*)", log, re.MULTILINE)
    reason = errors[0] if errors else _last_line(log)
    return f"pip could not install the packages: {reason} The whole log is in {folder / 'setup.log'}."


def _imports(folder: Path, imports: str) -> bool:
    return not imports or not _import_failure(folder, imports)


def _import_failure(folder: Path, imports: str) -> str:
    code = f"import {', '.join(imports.split())}"
    answer = subprocess.run(
        [environment_python(folder), "-c", code], capture_output=True, text=True, env=child_environ()
    )
    return "" if answer.returncode == 0 else _last_line(answer.stderr) or f"exit code {answer.returncode}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
