# SPDX-License-Identifier: GPL-3.0-or-later
"""A small head file: a sphere with a UV seam, a texture, three sliders and a record. Standard library only."""

import json
import math
import struct
import zlib
from collections.abc import Iterable, Sequence

SLIDERS = [
    {"name": "Jaw width", "group": "Shape", "minimum": -2.0, "maximum": 2.0},
    {"name": "Smile", "group": "Expression", "minimum": -1.0, "maximum": 1.5},
    {"name": "Age", "group": "Person", "minimum": -3.0, "maximum": 3.0},
]
PHOTO_EXPRESSION = {"name": "Photo expression", "group": "Expression", "minimum": 0.0, "maximum": 1.0}
RADIUS_M = 0.1
Vector = tuple[float, ...]


def record_text(
    seed: int, slider_values: dict[str, float], commercial_use: str = "yes", *, sliders: list[dict] = SLIDERS
) -> str:
    """The part of a HeadRecord that the add-on reads, and some ballast in place of the codes."""
    generator = {"id": "starter", "family": "fake", "licence": "Apache-2.0", "commercial_use": commercial_use}
    return json.dumps(
        {
            "schema": 1,
            "generator": generator,
            "codes": {"ws": "A" * 50_000},
            "seed": seed,
            "settings": {"model": "starter", "faces": 5000, "device": "cpu", "photo": "later key"},
            "sliders": sliders,
            "slider_values": slider_values,
        }
    )


def head_glb(record: str, *, rings: int = 12, colour: Sequence[int] = (200, 150, 120), clutter: bool = False) -> bytes:
    """The GLB file.

    Args:
        record: For the node's extras.
        rings: Decides the number of vertices, (rings + 1) * (2 * rings + 1).
        colour: Of the whole texture.
        clutter: Put the head under an empty, beside a camera.
    """
    directions, uvs = _sphere(rings)
    positions = [tuple(RADIUS_M * x for x in d) for d in directions]
    values = json.loads(record)["slider_values"]
    positions = [(x * (1 + 0.1 * values.get("Jaw width", 0.0)), y, z) for x, y, z in positions]
    targets = [
        [(0.1 * x, 0.0, 0.0) for x, _, _ in positions],
        [(0.0, 0.02 if z > 0 else 0.0, 0.0) for _, _, z in positions],
        [(0.0, 0.0, 0.1 * z) for _, _, z in positions],
        [(0.0, 0.0, 0.05 if z > 0 else 0.0) for _, _, z in positions],
    ]
    names = [slider["name"] for slider in json.loads(record)["sliders"]]
    targets = targets[: len(names)]
    file = _File()
    attributes = {
        "POSITION": file.vectors(positions, bounds=True),
        "NORMAL": file.vectors(directions),
        "TEXCOORD_0": file.vectors(uvs),
    }
    primitive = {
        "attributes": attributes,
        "indices": file.indices(_quads(rings)),
        "material": 0,
        "targets": [{"POSITION": file.vectors(target, bounds=True)} for target in targets],
    }
    mesh = {
        "primitives": [primitive],
        "weights": [values.get(name, 0.0) if name == PHOTO_EXPRESSION["name"] else 0.0 for name in names],
        "extras": {"targetNames": names},
    }
    nodes: list[dict] = [{"name": "head", "mesh": 0, "extras": {"protome_record": record}}]
    if clutter:
        nodes += [{"name": "root", "children": [0, 2], "translation": [1, 0, 0]}, {"name": "camera", "camera": 0}]
    image = file.view(png(colour))
    return file.glb(
        {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"name": "Scene", "nodes": [1 if clutter else 0]}],
            "nodes": nodes,
            "cameras": [{"type": "perspective", "perspective": {"yfov": 0.2, "znear": 0.1}}],
            "meshes": [mesh],
            "materials": [{"name": "skin", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
            "textures": [{"source": 0}],
            "images": [{"bufferView": image, "mimeType": "image/png"}],
        }
    )


def _sphere(rings: int) -> tuple[list[Vector], list[Vector]]:
    segments = 2 * rings
    directions, uvs = [], []
    for row in range(rings + 1):
        for column in range(segments + 1):  # The last column repeats the first: the UV seam.
            polar, around = math.pi * row / rings, 2 * math.pi * (column % segments) / segments
            direction = (math.sin(polar) * math.sin(around), math.cos(polar), math.sin(polar) * math.cos(around))
            directions.append(tuple(round(x, 9) + 0.0 for x in direction))  # A pole is one point, without a -0.
            uvs.append((column / segments, row / rings))
    return directions, uvs


def _quads(rings: int) -> Iterable[int]:
    width = 2 * rings + 1
    for row in range(rings):
        for column in range(width - 1):
            a = row * width + column
            if row > 0:
                yield from (a, a + width, a + 1)
            if row < rings - 1:
                yield from (a + 1, a + width, a + width + 1)


def png(colour: Sequence[int], side: int = 8) -> bytes:
    """A square picture of one colour, as a file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(colour) * side for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class _File:
    def __init__(self) -> None:
        self._data = bytearray()
        self._views: list[dict] = []
        self._accessors: list[dict] = []

    def view(self, data: bytes) -> int:
        self._data += b"\0" * (-len(self._data) % 4)
        self._views.append({"buffer": 0, "byteOffset": len(self._data), "byteLength": len(data)})
        self._data += data
        return len(self._views) - 1

    def vectors(self, rows: list[Vector], *, bounds: bool = False) -> int:
        view = self.view(b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows))
        kind = {2: "VEC2", 3: "VEC3"}[len(rows[0])]
        accessor = {"bufferView": view, "componentType": 5126, "count": len(rows), "type": kind}
        if bounds:
            columns = list(zip(*rows, strict=True))
            accessor |= {"min": [min(column) for column in columns], "max": [max(column) for column in columns]}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def indices(self, numbers: Iterable[int]) -> int:
        numbers = list(numbers)
        view = self.view(struct.pack(f"<{len(numbers)}I", *numbers))
        self._accessors.append({"bufferView": view, "componentType": 5125, "count": len(numbers), "type": "SCALAR"})
        return len(self._accessors) - 1

    def glb(self, document: dict) -> bytes:
        self._data += b"\0" * (-len(self._data) % 4)
        document |= {
            "bufferViews": self._views,
            "accessors": self._accessors,
            "buffers": [{"byteLength": len(self._data)}],
        }
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self._data)
        return (
            struct.pack("<4sII", b"glTF", 2, size)
            + struct.pack("<I4s", len(text), b"JSON")
            + text
            + struct.pack("<I4s", len(self._data), b"BIN\0")
            + bytes(self._data)
        )
