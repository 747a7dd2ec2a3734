# SPDX-License-Identifier: Apache-2.0
"""A head in the file formats that other programs ask for."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from backend.errors import SettingsError
from backend.glb import write_glb
from backend.head import Head, opened_mesh
from backend.mesh import Mesh, vertex_normals
from backend.output import write_output
from backend.raycast import sample_bilinear

FORMATS = ("glb", "obj", "ply")
MATERIAL = "Head"


def write_mesh(path: Path, head: Head, file_format: str) -> None:
    """Write a head in metres, +y up, in one of the ``FORMATS``.

    GLB holds everything. OBJ puts ``.mtl`` and the texture as ``.png`` beside itself, PLY has a colour for each vertex;
    both hold neither sliders nor record, but the head as it is opened. The file at ``path`` is written last, so where
    it is, all of it is.

    Raises:
        OutputError: A file cannot be written; one that was there before under that name is unchanged.
        SettingsError: The format is none of these.
    """
    if file_format == "glb":
        write_glb(path, head)
    elif file_format == "obj":
        write_output(path.with_suffix(".png"), _png(head))
        write_output(path.with_suffix(".mtl"), _mtl(path.with_suffix(".png").name).encode())
        write_output(path, _obj(head, path.with_suffix(".mtl").name).encode())
    elif file_format == "ply":
        write_output(path, _ply(head))
    else:
        raise SettingsError(f"{file_format} is no format that can be written. Choose {', '.join(FORMATS)}.")


def _png(head: Head) -> bytes:
    file = io.BytesIO()
    Image.fromarray(head.texture).save(file, "PNG", compress_level=3)
    return file.getvalue()


def _mtl(texture_name: str) -> str:
    return f"newmtl {MATERIAL}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {texture_name}\n"


def _obj(head: Head, material_name: str) -> str:
    """Wavefront text: OBJ counts from 1, and its textures from the bottom."""
    mesh = opened_mesh(head)
    uv = _uv(mesh) * [1, -1] + [0, 1]
    corners = np.repeat(mesh.faces + 1, 3, axis=1).reshape(-1, 3, 3)
    return "\n".join(
        [
            f"mtllib {material_name}",
            f"o {MATERIAL}",
            *("v {:.7g} {:.7g} {:.7g}".format(*vertex) for vertex in (mesh.vertices * head.metres_per_unit).tolist()),
            *("vt {:.7g} {:.7g}".format(*place) for place in uv.tolist()),
            *("vn {:.5g} {:.5g} {:.5g}".format(*normal) for normal in _normals(mesh).tolist()),
            f"usemtl {MATERIAL}",
            *("f {}/{}/{} {}/{}/{} {}/{}/{}".format(*triangle) for triangle in corners.reshape(-1, 9).tolist()),
            "",
        ]
    )


def _ply(head: Head) -> bytes:
    """Binary PLY with normals and colours."""
    mesh = opened_mesh(head)
    floats = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    colours = [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.empty(len(mesh.vertices), dtype=floats + colours)
    values = np.concatenate([mesh.vertices * head.metres_per_unit, _normals(mesh), _vertex_colours(head)], axis=1)
    for column, name in enumerate(vertices.dtype.names or ()):
        vertices[name] = values[:, column]
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    header = ["ply", "format binary_little_endian 1.0", "comment Protome, metres", f"element vertex {len(vertices)}"]
    header += [f"property float {name}" for name, _ in floats] + [f"property uchar {name}" for name, _ in colours]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode("ascii") + vertices.tobytes() + faces.tobytes()


def _vertex_colours(head: Head) -> np.ndarray:
    """The texture's colours at the vertices, rounded."""
    places = _uv(head.mesh) * len(head.texture)
    return np.rint(sample_bilinear(head.texture, places[:, 0], places[:, 1]))


def _uv(mesh: Mesh) -> np.ndarray:
    if mesh.uv is None:
        raise ValueError("a head's mesh needs uv")
    return mesh.uv


def _normals(mesh: Mesh) -> np.ndarray:
    return vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
