# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the rules of ARCHITECTURE.md, read from the sources."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A module imports only from earlier rows; a sub-package counts as one module.
BACKEND_LEVELS = [
    # contracts
    "errors config camera mesh field progress folders flatbuffer",
    "head protocol timing pace output device threads partial_file",
    # files
    "models record staging catalogue tflite photo_expression",
    "glb resample lattice packing texels raycast",
    "magnify",
    "decimation",
    # photo side
    "photo photo_network face_mesh_points identity_network skeleton",
    "identity face_detector",
    "face_mesh",
    "landmarks",
    "alignment",
    "pose mask likeness crop_camera photo_weight",
    "landmark_errors",
    # generator and geometry
    "template directions generator cylinder",
    "starter encoder plane_lift surface unwrap mirror reprojection blend recolor",
    "checkpoint starter_encoder",
    "e3dge",
    "inversion texture portrait_record preview export morph published_alignment",
    "portrait_model estimate",
    "pipeline training fitting",
    # doors
    "jobs console doctor",
    "batch worker cli_models",
    "cli evaluation",
    "__main__",
]

ADDON_LEVELS = [
    "errors pipe properties",
    "protocol photo sliders times",
    "client carry",
    "install head",
    "preferences",
    "job",
    "operators panels",
    "registration",
]

# One library, one door. Training and evaluation are no part of the main path.
DOORS = {
    "mcubes": {"surface"},
    "xatlas": {"unwrap"},
    "embreex": {"raycast"},
    "fast_simplification": {"decimation"},
    "safetensors": {"models"},
    "mediapipe": set(),
    "igl": set(),
    "matplotlib": set(),
}

OFF_THE_PATH = {"training", "evaluation"}
OFF_THE_PATH_NAMES = tuple(f"backend.{name}" for name in sorted(OFF_THE_PATH))

ADDON_LIBRARIES = {"bpy", "bpy_extras", "mathutils", "numpy"}


def levels(table: list[str]) -> dict[str, int]:
    return {name: level for level, names in enumerate(table) for name in names.split()}


def sources(package: str) -> list[tuple[str, Path]]:
    """Each source file with the module it belongs to; a sub-package is one module."""
    folder = ROOT / package
    paths = sorted(path for path in folder.rglob("*.py") if path != folder / "__init__.py")
    return [(path.relative_to(folder).parts[0].removesuffix(".py"), path) for path in paths]


def module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported; not functions, and not what only a type checker reads."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def imported(path: Path, *, when_imported: bool = False) -> set[str]:
    """Full names of what a file imports; relative names start with a dot."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in module_level(tree) if when_imported else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            separator = "" if base.endswith(".") else "."
            names |= {f"{base}{separator}{alias.name}" for alias in node.names}
    return names - {"backend.__version__"}


def libraries(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)} - {""}


@pytest.mark.parametrize(
    ("package", "table", "prefix"), [("backend", BACKEND_LEVELS, "backend."), ("blender_addon", ADDON_LEVELS, ".")]
)
def test_a_module_imports_only_from_lower_levels(package, table, prefix):
    level = levels(table)
    for module, path in sources(package):
        assert module in level, f"{module} has no row in the table of {__file__}"
        for name in imported(path):
            other = name.removeprefix(prefix).partition(".")[0]
            if name.startswith(prefix) and not name.startswith("..") and other != module:
                assert other in level, f"{path} imports {name}, which does not exist"
                assert level[other] < level[module], f"{path} imports {name} of the same or a higher level"


@pytest.mark.parametrize(("package", "table"), [("backend", BACKEND_LEVELS), ("blender_addon", ADDON_LEVELS)])
def test_the_table_names_no_module_that_is_gone(package, table):
    assert set(levels(table)) <= {module for module, _ in sources(package)}


def test_the_add_on_uses_the_standard_library_numpy_and_blender_only():
    for _, path in sources("blender_addon"):
        assert libraries(path) <= ADDON_LIBRARIES | sys.stdlib_module_names, path


def test_the_add_on_starts_no_threads():
    for _, path in sources("blender_addon"):
        assert "threading" not in libraries(path), path


def test_the_backend_knows_nothing_of_blender():
    for _, path in sources("backend"):
        assert not libraries(path) & {"bpy", "bpy_extras", "mathutils", "blender_addon"}, path


def test_backend_imports_are_absolute():
    for _, path in sources("backend"):
        assert not [name for name in imported(path) if name.startswith(".")], path


@pytest.mark.parametrize("library", DOORS)
def test_one_library_has_one_door(library):
    users = {module for module, path in sources("backend") if library in libraries(path) and module not in OFF_THE_PATH}
    assert users <= DOORS[library]


def test_the_main_path_never_imports_training_nor_evaluation():
    for module, path in sources("backend"):
        if module not in OFF_THE_PATH:
            assert not [name for name in imported(path) if name.startswith(OFF_THE_PATH_NAMES)], path


def test_training_never_sees_what_it_is_judged_by():
    for module, path in sources("backend"):
        if module == "training":
            assert not [name for name in imported(path) if name.startswith("backend.evaluation")], path


@pytest.mark.parametrize("start", ["__main__", "cli", "worker"])
def test_doors_open_without_torch(start):
    """The doctor has to run, and the worker to say ready, where torch is missing or broken."""
    waiting, seen = [ROOT / "backend" / f"{start}.py"], set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for name in imported(path, when_imported=True):
            assert name.partition(".")[0] not in {"torch", "numpy", "jaxtyping", "scipy", "PIL"}, f"{path}: {name}"
            module = name.split(".")
            candidates = [ROOT.joinpath(*module).with_suffix(".py"), ROOT.joinpath(*module[:-1]).with_suffix(".py")]
            waiting += [path for path in candidates if path.is_file() and path not in seen]


def test_package_files_import_nothing():
    for path in (ROOT / "backend").rglob("__init__.py"):
        assert not imported(path), path
