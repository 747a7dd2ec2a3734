# SPDX-License-Identifier: Apache-2.0
"""Build and check the Blender extension: ``python3 scripts/build_extension.py`` writes dist/protome-VERSION.zip.

Takes Blender's own builder from a ``blender`` on PATH or from the ``bpy`` module. Without either, the same list of
files is zipped here and only the manifest's fields are checked.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "blender_manifest.toml"
REQUIRED = (
    MANIFEST,
    "__init__.py",
    "LICENSE",
    "requirements.txt",
    "blender_addon/registration.py",
    "backend/__main__.py",
    "backend/weights/starter.safetensors",
    "backend/weights/starter_encoder.safetensors",
    "backend/weights/starter_e3dge.safetensors",
    "scripts/protome.py",
    "scripts/environment.py",
    "scripts/fetch_photo_models.py",
)
# Everything in the zip matches one of these; what else lies in the folder is a mistake in the manifest's patterns.
ALLOWED = (
    MANIFEST,
    "__init__.py",
    "*.md",
    "LICENSE*",
    "LICENSES/*",
    "requirements.txt",
    "blender_addon/*.py",
    "backend/*.py",
    "backend/weights/*",
    "scripts/protome.py",
    "scripts/environment.py",
    "scripts/fetch_photo_models.py",
)
REFUSED = (
    "tests/*",
    "docs/*",
    "backend/training/*",
    "backend/evaluation/*",
    "*/__pycache__/*",
    ".*",
    "*/.*",
    "*.pyc",
    "*.zip",
)
ID, VERSION, BLENDER = re.compile(r"[a-z][a-z0-9_]+"), re.compile(r"\d+\.\d+\.\d+"), (4, 2, 0)


class BuildError(Exception):
    """The extension cannot be built; the message says why."""


def main() -> int:
    """Build, check the list of files, say where the zip is."""
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the zip")
    options = parser.parse_args()
    try:
        path = build(options.out)
        check_files(file_list(path))
    except BuildError as error:
        print(f"build_extension: {error}", file=sys.stderr)
        return 1
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB, {len(file_list(path))} files)")
    return 0


def build(folder: Path) -> Path:
    """Build the zip and have it validated.

    Raises:
        BuildError: The manifest or the tool refuses.
    """
    manifest = read_manifest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{manifest['id']}-{manifest['version']}.zip"
    path.unlink(missing_ok=True)
    tool = blender_tool()
    if tool is None:
        write_zip(path, manifest["build"]["paths_exclude_pattern"])
    else:
        run([*tool, "build", "--source-dir", str(ROOT), "--output-filepath", str(path)])
        run([*tool, "validate", str(path)])
    return path


def blender_tool() -> list[str] | None:
    """Blender's command for extensions, or the same from the ``bpy`` module, or None."""
    blender = shutil.which("blender")
    if blender:
        return [blender, "--command", "extension"]
    found = importlib.util.find_spec("bpy")
    folders = [ROOT / ".venv-blender", Path(found.origin).parent if found and found.origin else ROOT / ".venv-blender"]
    for folder in folders:
        for script in sorted(folder.glob("**/scripts/addons_core/bl_pkg/cli/blender_ext.py")):
            return [sys.executable, str(script)]
    return None


def run(command: list[str]) -> None:
    """Run Blender's tool.

    Raises:
        BuildError: With what it printed.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError((done.stdout + done.stderr).strip())


def read_manifest() -> dict:
    """The manifest, its fields checked as far as Blender's own tool does not.

    Raises:
        BuildError: A field is wrong.
    """
    manifest = tomllib.loads((ROOT / MANIFEST).read_text(encoding="utf-8"))
    tagline, permissions = manifest["tagline"], manifest.get("permissions", {})
    texts = [tagline, *permissions.values()]
    checks = {
        "id": ID.fullmatch(manifest["id"]),
        "version": VERSION.fullmatch(manifest["version"]),
        "tagline or permission: 64 characters at most, no full stop": all(
            len(text) <= 64 and text[-1].isalnum() for text in texts
        ),
        "license": all(licence.startswith("SPDX:") for licence in manifest["license"]),
        "blender_version_min": tuple(map(int, manifest["blender_version_min"].split("."))) >= BLENDER,
        "permissions": set(permissions) <= {"files", "network", "clipboard", "camera", "microphone"},
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    if wrong:
        raise BuildError(f"{MANIFEST}: wrong {', '.join(wrong)}")
    return manifest


def write_zip(path: Path, excluded: list[str]) -> None:
    """Zip what the manifest's patterns leave, without Blender's tool."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for source in sorted(left_over(ROOT, excluded)):
            file.write(source, source.relative_to(ROOT).as_posix())


def left_over(folder: Path, excluded: list[str]) -> list[Path]:
    """Files below a folder that no pattern excludes; excluded folders are not entered."""
    files: list[Path] = []
    for path in folder.iterdir():
        name = "/" + path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "")
        if is_excluded(name, excluded) or path.is_symlink():
            continue
        files += left_over(path, excluded) if path.is_dir() else [path]
    return files


def is_excluded(name: str, patterns: list[str]) -> bool:
    """Whether gitignore patterns exclude a file or folder; the last one that fits decides.

    Args:
        name: From the root, with a slash before it, and one after it for a folder.
        patterns: In the order of the manifest; those with ``!`` take back.
    """
    is_out = False
    for pattern in patterns:
        glob = pattern.removeprefix("!")
        glob = glob if glob.startswith("/") else f"*/{glob}"
        if fnmatch(name, glob) if glob.endswith("/") else fnmatch(name.rstrip("/"), glob):
            is_out = not pattern.startswith("!")
    return is_out


def file_list(path: Path) -> list[str]:
    """Names in a zip, without folders."""
    with zipfile.ZipFile(path) as file:
        return sorted(name for name in file.namelist() if not name.endswith("/"))


def check_files(names: list[str]) -> None:
    """See that the zip holds what an installation needs and nothing else.

    Raises:
        BuildError: A file is missing or does not belong in it.
    """
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise BuildError(f"missing in the zip: {', '.join(missing)}")
    strange = [name for name in names if not _fits(name, ALLOWED) or _fits(name, REFUSED)]
    if strange:
        raise BuildError(f"does not belong in the zip: {', '.join(strange[:10])}")


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


if __name__ == "__main__":
    sys.exit(main())
