# SPDX-License-Identifier: Apache-2.0
"""Whether everything that the main job needs is on this computer; works without any package, torch included."""

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from backend import __version__
from backend.catalogue import STARTER, damaged_models, installed_generators, read_metadata
from backend.errors import ModelError
from backend.folders import PHOTO_MODELS, model_path, starter_path

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
SETUP_HINT = "Run `python3 scripts/protome.py setup`."
BLENDER_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's answer.

    Args:
        name: What was looked at.
        is_good: False keeps the main job from running.
        text: What was found, and what to do about it.
    """

    name: str
    is_good: bool
    text: str


def main(*, as_json: bool) -> int:
    """Print what is found; 0 when the main job can run, 2 when something is missing."""
    findings = list(examine())
    if as_json:
        lines = [json.dumps([asdict(finding) for finding in findings], indent=2)]
    else:
        lines = [
            f"{'ok     ' if finding.is_good else 'MISSING'} {finding.name}: {finding.text}" for finding in findings
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(finding.is_good for finding in findings) else 2


def examine() -> Iterator[Finding]:
    """Look at Protome, Python, the packages, torch's device, the weights and Blender."""
    yield Finding("Protome", True, __version__)
    is_supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    hint = "" if is_supported else ", and Protome needs 3.11 to 3.13"
    yield Finding("Python", is_supported, f"{platform.python_version()} at {sys.executable}{hint}")
    yield from (_package(name) for name in _required_packages())
    yield _torch()
    yield _weights("starter generator", starter_path())
    yield from (_weights(name.replace("_", " "), model_path(name)) for name in PHOTO_MODELS)
    yield from _added_models()
    yield _blender()


def _required_packages() -> list[str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    names = [re.match(r"[\w.-]+", line) for line in lines]
    return [name[0] for name in names if name and name[0] != "torch"]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, f"not installed. {SETUP_HINT}")


def _torch() -> Finding:
    try:
        import torch

        from backend.device import choose_device
    except ModuleNotFoundError as error:
        return Finding("torch", False, f"{error.name} is not installed. {SETUP_HINT}")
    except (ImportError, OSError) as error:
        return Finding("torch", False, f"does not load ({error}). {SETUP_HINT}")
    device = choose_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Finding("torch", True, f"{torch.__version__}, computes on {device.type} ({name})")


def _weights(name: str, path: Path) -> Finding:
    """Read whole and compared with their own hash where torch is installed, else judged by header and length."""
    try:
        if find_spec("torch") and find_spec("safetensors"):
            from backend.models import read_weights

            read_weights(path)
        else:
            read_metadata(path)
    except ModelError as error:
        return Finding(name, False, str(error))
    except (ImportError, OSError) as error:
        return Finding(name, False, f"cannot be read ({error}).")
    return Finding(name, True, f"{path}, {path.stat().st_size / 1e6:.1f} MB")


def _added_models() -> Iterator[Finding]:
    """By their headers only; `protome models verify` reads them whole. Protome works without them."""
    for one in installed_generators():
        if one.name != STARTER:
            yield Finding(
                f"model {one.name}", True, f"{one.family}, {one.licence}, commercial use {one.commercial_use}"
            )
    for name, path in damaged_models():
        yield Finding(
            f"model {name}", True, f"{path} is damaged; remove it with `protome models remove` and add it again"
        )


def _blender() -> Finding:
    """Blender is not needed by the backend, so its absence is no fault."""
    for command in _blender_commands():
        try:
            answer = subprocess.run(
                [command, "--version"], capture_output=True, text=True, errors="replace", timeout=BLENDER_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Finding("Blender", True, f"{command} does not answer ({error}).")
        return Finding("Blender", True, f"{(answer.stdout.splitlines() or ['unknown version'])[0]} at {command}")
    return Finding("Blender", True, "not found; only the add-on needs it, in version 4.2 or later")


def _blender_commands() -> Iterator[str]:
    if command := shutil.which("blender"):
        yield command
    for folder, pattern in (
        ("/Applications", "Blender*.app/Contents/MacOS/Blender"),
        ("C:/Program Files/Blender Foundation", "Blender */blender.exe"),
    ):
        yield from (str(path) for path in sorted(Path(folder).glob(pattern), reverse=True))
