# SPDX-License-Identifier: Apache-2.0
"""The head as one binary glTF 2.0 file.

Source:
    Khronos, glTF 2.0 specification, sections 3 (properties) and 4 (GLB).
"""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from backend.errors import RecordError
from backend.head import Head, HeadRecord, licence_note
from backend.mesh import vertex_normals
from backend.output import write_output
from backend.record import KEY, record_from_json, record_to_json

MAGIC, VERSION = b"glTF", 2
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5123, 5125, 5126
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071
JPEG_QUALITY = 95
LEAST_OFFSET_M = 1e-5  # A morph target moves no vertex by less than a hundredth of a millimetre.
NAME = "Head"
LICENCE_KEY = "protome_licence"  # Beside the record, for people who open the file in another program.


def write_glb(path: Path, head: Head) -> None:
    """Write a head in metres with its texture, sliders and record.

    Raises:
        OutputError: The file cannot be written; one that was there before is unchanged.
    """
    write_output(path, glb_bytes(head))


def glb_bytes(head: Head) -> bytes:
    """The content of the head's GLB file."""
    document = _Document()
    primitive = {"attributes": _attributes(document, head), "indices": _indices(document, head), "material": 0}
    if head.morph_targets:
        primitive["targets"] = [
            {"POSITION": document.add_offsets(_visible_offsets(target.offsets, head.metres_per_unit))}
            for target in head.morph_targets
        ]
    return document.to_glb(
        {
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"name": NAME, "mesh": 0, "extras": _extras(head.record)}],
            "meshes": [_mesh(head, primitive)],
            "materials": [_material()],
            "textures": [{"source": 0, "sampler": 0}],
            "images": [{"name": NAME, "mimeType": "image/jpeg", "bufferView": document.add_view(_jpeg(head))}],
            "samplers": [_sampler()],
        }
    )


def _extras(record: HeadRecord) -> dict[str, str]:
    return {KEY: record_to_json(record), LICENCE_KEY: licence_note(record.generator)}


def _mesh(head: Head, primitive: dict[str, Any]) -> dict[str, Any]:
    mesh: dict[str, Any] = {"name": NAME, "primitives": [primitive]}
    if head.morph_targets:
        mesh["weights"] = [target.start for target in head.morph_targets]
        mesh["extras"] = {"targetNames": [target.slider.name for target in head.morph_targets]}
    return mesh


def _material() -> dict[str, Any]:
    """Skin: no metal, a soft gloss."""
    return {
        "name": NAME,
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 0},
            "metallicFactor": 0.0,
            "roughnessFactor": 0.6,
        },
    }


def _sampler() -> dict[str, int]:
    return {
        "magFilter": LINEAR,
        "minFilter": LINEAR_MIPMAP_LINEAR,
        "wrapS": CLAMP_TO_EDGE,
        "wrapT": CLAMP_TO_EDGE,
    }


def _attributes(document: "_Document", head: Head) -> dict[str, int]:
    mesh = head.mesh
    if mesh.uv is None:
        raise ValueError("a head's mesh needs uv")
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return {
        "POSITION": document.add_vectors(mesh.vertices * head.metres_per_unit, has_bounds=True),
        "NORMAL": document.add_vectors(unit),
        "TEXCOORD_0": document.add_vectors(mesh.uv),
    }


def _indices(document: "_Document", head: Head) -> int:
    small = len(head.mesh.vertices) < 65_535
    indices = head.mesh.faces.astype("<u2" if small else "<u4").ravel()
    view = document.add_view(indices.tobytes(), target=ELEMENT_ARRAY_BUFFER)
    component = UNSIGNED_SHORT if small else UNSIGNED_INT
    return document.add_accessor(
        {"bufferView": view, "componentType": component, "count": len(indices), "type": "SCALAR"}
    )


def _visible_offsets(offsets: Float[np.ndarray, "v 3"], metres_per_unit: float) -> Float[np.ndarray, "v 3"]:
    """Offsets in metres, those too small to be seen set to 0."""
    metres = offsets * metres_per_unit
    return np.where(np.linalg.norm(metres, axis=1, keepdims=True) < LEAST_OFFSET_M, 0.0, metres)


def _jpeg(head: Head) -> bytes:
    file = io.BytesIO()
    Image.fromarray(head.texture).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


class _Document:
    """The lists that refer to the binary chunk, and the chunk itself."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add_view(self, data: bytes, *, target: int | None = None) -> int:
        """Append data at a multiple of 4 bytes."""
        self.binary.extend(bytes(-len(self.binary) % 4))
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.binary.extend(data)
        self.views.append(view)
        return len(self.views) - 1

    def add_accessor(self, accessor: dict[str, Any]) -> int:
        """Append a finished accessor."""
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_vectors(self, vectors: Float[np.ndarray, "v n"], *, has_bounds: bool = False) -> int:
        """Append a vertex attribute."""
        stored = np.ascontiguousarray(vectors, dtype="<f4")
        accessor = _vector_accessor(stored, has_bounds=has_bounds)
        accessor["bufferView"] = self.add_view(stored.tobytes(), target=ARRAY_BUFFER)
        return self.add_accessor(accessor)

    def add_offsets(self, offsets: Float[np.ndarray, "v 3"]) -> int:
        """Append a morph target, sparse where that is smaller."""
        stored = np.ascontiguousarray(offsets, dtype="<f4")
        moved = np.flatnonzero(stored.any(axis=1))
        if len(moved) == 0:
            moved = np.array([0])  # A sparse accessor lists at least one vertex.
        if 16 * len(moved) >= 12 * len(stored):
            return self.add_vectors(stored, has_bounds=True)
        accessor = _vector_accessor(stored, has_bounds=True)
        accessor["sparse"] = self._sparse(stored, moved)
        return self.add_accessor(accessor)

    def _sparse(self, stored: Float[np.ndarray, "v 3"], moved: Int[np.ndarray, "m"]) -> dict[str, Any]:
        index_view = self.add_view(moved.astype("<u4").tobytes())
        return {
            "count": len(moved),
            "indices": {"bufferView": index_view, "componentType": UNSIGNED_INT},
            "values": {"bufferView": self.add_view(stored[moved].tobytes())},
        }

    def to_glb(self, content: dict[str, Any]) -> bytes:
        """The file, with the lists of this document and ``content``."""
        document = {
            "asset": {"version": "2.0", "generator": "Protome"},
            **content,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
        chunks = _chunk(JSON_CHUNK, text, padding=b" ") + _chunk(BINARY_CHUNK, bytes(self.binary), padding=b"\0")
        return struct.pack("<4sII", MAGIC, VERSION, 12 + len(chunks)) + chunks


def _vector_accessor(stored: Float[np.ndarray, "v n"], *, has_bounds: bool) -> dict[str, Any]:
    accessor: dict[str, Any] = {"componentType": FLOAT, "count": len(stored), "type": f"VEC{stored.shape[1]}"}
    if has_bounds:
        accessor["min"], accessor["max"] = stored.min(axis=0).tolist(), stored.max(axis=0).tolist()
    return accessor


def _chunk(kind: int, data: bytes, *, padding: bytes) -> bytes:
    padded = data + padding * (-len(data) % 4)
    return struct.pack("<II", len(padded), kind) + padded


def read_record(path: Path) -> HeadRecord:
    """The record in a head's GLB file.

    Raises:
        RecordError: There is no such file, it is no GLB, or it holds no usable record.
    """
    try:
        return record_from_json(_record_text(_json_chunk(path)))
    except OSError as error:
        raise RecordError(
            f"{path.name} cannot be read: {error.strerror}. Choose a head.glb that exists.", code="no_record"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, struct.error, RecursionError) as error:
        raise RecordError(
            f"{path.name} is no head made by Protome. Choose a head.glb that Protome wrote.", code="no_record"
        ) from error


def _json_chunk(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        magic, version, _ = struct.unpack("<4sII", file.read(12))
        length, kind = struct.unpack("<II", file.read(8))
        if (magic, version, kind) != (MAGIC, VERSION, JSON_CHUNK):
            raise ValueError("no GLB")
        return json.loads(file.read(length))


def _record_text(document: dict[str, Any]) -> str:
    texts = [node["extras"][KEY] for node in document["nodes"] if KEY in node.get("extras", {})]
    if not texts or not isinstance(texts[0], str):
        raise ValueError("no record")
    return texts[0]
