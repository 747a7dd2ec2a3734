# SPDX-License-Identifier: Apache-2.0
"""Reads MakeHuman's CC0 files: base mesh, targets, proxies and skinning weights.

Everything here is in MakeHuman's units and frame: decimetres, +y up, the face looks along +z, +x is the
subject's left. ``to_canonical`` leads to the generator's metres.
"""

import gzip
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from backend.errors import ModelError
from backend.skeleton import Skeleton

BASE_VERTICES = 19158
BODY_VERTICES = 13380
ORIGIN_DM = np.array([0.0, 6.98, 0.30])
METRES_PER_DM = 0.1
# Cubes of eight helper vertices whose centres are joints, and the helper eyeballs.
EYE_JOINTS = (13606, 13614)
JOINTS = {"head": 14070, "neck": 14534, "shoulder_left": 14046, "shoulder_right": 14486}
EYEBALLS = (slice(14598, 14670), slice(14670, 14742))
ARMS_LOWERED_DEG = 38.0
# All other bones but the neck's belong to the head.
BODY_BONES = (
    "breast", "clavicle", "finger", "foot", "lower", "metacarpal", "pelvis", "root", "shoulder", "spine", "toe",
    "upper", "wrist",
)  # fmt: skip


def to_canonical(points_dm: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """From MakeHuman decimetres to the canonical frame in metres."""
    return (points_dm - ORIGIN_DM) * METRES_PER_DM


@dataclass(frozen=True)
class ObjMesh:
    """A triangulated Wavefront mesh; ``faces_uv`` indexes ``uv`` corner by corner, ``groups`` names each triangle's."""

    vertices: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "t 2"]
    faces: Int[np.ndarray, "f 3"]
    faces_uv: Int[np.ndarray, "f 3"]
    groups: np.ndarray


@dataclass(frozen=True)
class Proxy:
    """Hair, clothes or eyes that follow the base mesh: each vertex hangs on three base vertices.

    Args:
        name: The asset's name.
        anchors: Base vertices of each proxy vertex.
        weights: Their weights; may be negative.
        offsets: Added after scaling by ``scales``.
        scales: Per axis: two base vertices and the distance between them that means 1.
        mesh: Triangles and texture coordinates of the proxy.
    """

    name: str
    anchors: Int[np.ndarray, "p 3"]
    weights: Float[np.ndarray, "p 3"]
    offsets: Float[np.ndarray, "p 3"]
    scales: dict[int, tuple[int, int, float]]
    mesh: ObjMesh


def load_obj(path: Path) -> ObjMesh:
    """Read a Wavefront file; polygons become triangle fans.

    Raises:
        ModelError: The file is missing or holds no faces.
    """
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    faces: list[list[int]] = []
    faces_uv: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for line in read_asset_text(path).splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(word) for word in words[1:4]])
        elif words[0] == "vt":
            uv.append([float(word) for word in words[1:3]])
        elif words[0] == "g":
            group = words[1] if len(words) > 1 else ""
        elif words[0] == "f":
            corners = [word.split("/") for word in words[1:]]
            for k in range(1, len(corners) - 1):
                fan = (corners[0], corners[k], corners[k + 1])
                faces.append([int(corner[0]) - 1 for corner in fan])
                faces_uv.append([int(corner[1]) - 1 if len(corner) > 1 and corner[1] else 0 for corner in fan])
                groups.append(group)
    if not faces:
        raise ModelError(f"{path} holds no faces; fetch the MakeHuman assets again.", code="asset_damaged")
    return ObjMesh(
        np.array(vertices, np.float64),
        np.array(uv or [[0.0, 0.0]], np.float32),
        np.array(faces, np.int64),
        np.array(faces_uv, np.int64),
        np.array(groups),
    )


def load_target(path: Path) -> Float[np.ndarray, "19158 3"]:
    """Read a morph target as dense offsets of the base mesh, decimetres."""
    offsets = np.zeros((BASE_VERTICES, 3), np.float32)
    for line in read_asset_text(path).splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            offsets[int(words[0])] = [float(word) for word in words[1:4]]
    return offsets


def load_proxy(path: Path) -> Proxy:
    """Read a ``.mhclo`` file and the mesh it names."""
    scales: dict[int, tuple[int, int, float]] = {}
    rows: list[list[float]] = []
    object_file = ""
    in_vertices = False
    for line in read_asset_text(path).splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        if words[0] in ("x_scale", "y_scale", "z_scale"):
            scales["xyz".index(words[0][0])] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0] == "obj_file":
            object_file = words[1]
        elif words[0] == "verts":
            in_vertices = True
        elif words[0] == "delete_verts":
            in_vertices = False
        elif in_vertices and _is_number(words[0]):
            numbers = [float(word) for word in words]
            rows.append(numbers[:1] * 3 + [1, 0, 0, 0, 0, 0] if len(numbers) == 1 else (numbers + [0.0] * 9)[:9])
    table = np.array(rows)
    mesh = load_obj(path.parent / object_file)
    if len(table) != len(mesh.vertices):
        raise ModelError(f"{path} does not fit its mesh; fetch the MakeHuman assets again.", code="asset_damaged")
    return Proxy(path.stem, table[:, :3].astype(np.int64), table[:, 3:6], table[:, 6:9], scales, mesh)


def fit_proxy(proxy: Proxy, base_dm: Float[np.ndarray, "19158 3"]) -> Float[np.ndarray, "p 3"]:
    """Proxy vertices on a morphed base mesh, decimetres."""
    scale = np.ones(3)
    for axis, (first, second, unit) in proxy.scales.items():
        scale[axis] = abs(base_dm[first, axis] - base_dm[second, axis]) / unit
    return (base_dm[proxy.anchors] * proxy.weights[..., None]).sum(1) + proxy.offsets * scale


def read_asset_text(path: Path) -> str:
    """The text of an asset, plain or gzipped.

    Raises:
        ModelError: The file is missing or damaged.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", errors="replace") as file:
                return file.read()
        return path.read_text(errors="replace")
    except (OSError, EOFError, zlib.error) as error:
        raise ModelError(
            f"The training asset {path} cannot be read ({error}); point --assets at the CC0 MakeHuman files.",
            code="asset_missing",
        ) from error


def _is_number(word: str) -> bool:
    return word.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()


class MakeHuman:
    """The MakeHuman assets below one folder, read when first asked for.

    Args:
        folder: Holds ``mpfb2``, ``makehuman`` and ``makehuman-assets``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.targets_folder = folder / "mpfb2" / "targets"

    @cached_property
    def base(self) -> ObjMesh:
        """The whole base mesh with its helper geometry."""
        return load_obj(self.folder / "mpfb2" / "3dobjs" / "base.obj")

    @cached_property
    def body(self) -> ObjMesh:
        """The skin: group ``body`` of the base mesh, with base vertex numbers."""
        skin = self.base.groups == "body"
        base = self.base
        return ObjMesh(base.vertices, base.uv, base.faces[skin], base.faces_uv[skin], base.groups[skin])

    @cached_property
    def arm_weights(self) -> Float[np.ndarray, "19158 2"]:
        """Share of each base vertex that follows the left and the right arm, 0 to 1."""
        weights = json.loads(read_asset_text(self.folder / "makehuman" / "rigs" / "default_weights.mhw"))["weights"]
        total = np.zeros(BASE_VERTICES)
        arms = np.zeros((BASE_VERTICES, 2))
        for bone, entries in weights.items():
            arm = bone.startswith(("upperarm", "lowerarm", "wrist", "finger", "metacarpal"))
            share = 1.0 if arm else 0.5 if bone.startswith("shoulder01") else 0.0
            for vertex, weight in entries:
                total[vertex] += weight
                arms[vertex, 0 if bone.endswith(".L") else 1] += share * weight
        return arms / np.maximum(total, 1e-6)[:, None]

    @cached_property
    def joint_shares(self) -> Float[np.ndarray, "19158 2"]:
        """Share of each base vertex that goes with the neck and with the head, 0 to 1; for ``pose_head``."""
        weights = json.loads(read_asset_text(self.folder / "makehuman" / "rigs" / "default_weights.mhw"))["weights"]
        total = np.zeros(BASE_VERTICES)
        shares = np.zeros((BASE_VERTICES, 2))
        for bone, entries in weights.items():
            column = None if bone.startswith(BODY_BONES) else 0 if bone.startswith("neck") else 1
            for vertex, weight in entries:
                total[vertex] += weight
                if column is not None:
                    shares[vertex, column] += weight
        return shares / np.maximum(total, 1e-6)[:, None]

    def target(self, name: str) -> Float[np.ndarray, "19158 3"]:
        """A morph target by its path below ``targets``, without suffix."""
        return load_target(self.targets_folder / f"{name}.target.gz")

    @cached_property
    def eyes(self) -> Proxy:
        """The low-poly eyeballs."""
        return load_proxy(self.folder / "makehuman" / "eyes" / "low-poly" / "low-poly.mhclo")

    @cached_property
    def teeth(self) -> Proxy:
        """Teeth and gums of both jaws."""
        return load_proxy(self.folder / "makehuman-assets" / "teeth" / "teeth_base" / "teeth_base.mhclo")

    @cached_property
    def tongue(self) -> Proxy:
        """The tongue."""
        return load_proxy(self.folder / "makehuman-assets" / "tongue" / "tongue01" / "tongue01.mhclo")

    def hair(self, name: str) -> Proxy:
        """A hair mesh such as ``bob01``."""
        return load_proxy(self.folder / "makehuman-assets" / "hair" / name / f"{name}.mhclo")

    def top(self, name: str) -> Proxy:
        """A garment for the upper body such as ``male_casualsuit01``."""
        return load_proxy(self.folder / "makehuman-assets" / "clothes" / name / f"{name}.mhclo")


def joint(base_dm: Float[np.ndarray, "19158 3"], first: int) -> Float[np.ndarray, "3"]:
    """Centre of the helper cube that starts at a vertex."""
    return base_dm[first : first + 8].mean(0)


def lower_arms(
    base_dm: Float[np.ndarray, "19158 3"], weights: Float[np.ndarray, "19158 2"]
) -> Float[np.ndarray, "19158 3"]:
    """The base mesh with hanging shoulders: arms turned down by linear blend skinning."""
    moved = base_dm.copy()
    for side, (name, sign) in enumerate((("shoulder_left", -1.0), ("shoulder_right", 1.0))):
        angle = sign * np.radians(ARMS_LOWERED_DEG)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        pivot = joint(base_dm, JOINTS[name])
        moved += weights[:, side : side + 1] * ((base_dm - pivot) @ turn.T + pivot - base_dm)
    return moved


def head_skeleton(base_dm: Float[np.ndarray, "19158 3"]) -> Skeleton:
    """Where neck and head of a base mesh turn, decimetres."""
    return Skeleton(np.stack([joint(base_dm, JOINTS["neck"]), joint(base_dm, JOINTS["head"])]))


def pose_head(
    makehuman: MakeHuman, base_dm: Float[np.ndarray, "19158 3"], pose: Float[np.ndarray, "6"]
) -> Float[np.ndarray, "19158 3"]:
    """The base mesh with neck and head turned; see ``backend.skeleton``.

    Args:
        makehuman: The assets.
        base_dm: With its expression, arms lowered.
        pose: Radians.
    """
    return head_skeleton(base_dm).place(base_dm, makehuman.joint_shares, pose)
