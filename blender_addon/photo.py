# SPDX-License-Identifier: GPL-3.0-or-later
"""The chosen photo as a file that the worker can read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from .errors import PhotoError
from .properties import PROTOME_PG_settings

PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # By number of channels: grey, grey and alpha, RGB, RGBA.


def chosen_photo(settings: PROTOME_PG_settings, folder: Path) -> Path:
    """The picture file that the settings name; a Blender image is written into the folder.

    Raises:
        PhotoError: Nothing was chosen, the file is missing, or the image cannot be written.
    """
    if settings.source == "IMAGE":
        if settings.image is None:
            raise PhotoError("No image is chosen. Choose one in the Protome tab.")
        return image_file(settings.image, folder)
    if not settings.photo:
        raise PhotoError("No photo is chosen. Choose a picture file in the Protome tab.")
    return photo_file(settings.photo)


def more_photos(settings: PROTOME_PG_settings) -> list[Path]:
    """The other picture files of the person that the settings name.

    Raises:
        PhotoError: A file is missing.
    """
    return [photo_file(photo.path) for photo in settings.more_photos if photo.path]


def photo_folder(settings: PROTOME_PG_settings) -> str:
    """The folder of the photo that the settings name; empty where it has none."""
    if settings.source == "IMAGE" or not settings.photo:
        return ""
    folder = Path(bpy.path.abspath(settings.photo)).parent
    return str(folder) if folder.is_dir() else ""


def photo_file(path: str) -> Path:
    """A picture file's absolute path; ``//`` stands for the .blend file's folder.

    Raises:
        PhotoError: There is no such file.
    """
    absolute = Path(bpy.path.abspath(path)).absolute()
    if not absolute.is_file():
        raise PhotoError(f"There is no file {absolute}. Choose another photo.")
    return absolute


def image_file(image: bpy.types.Image, folder: Path) -> Path:
    """A Blender image as a file: its own where that is what the user sees, else a copy in the folder.

    Raises:
        PhotoError: It is no single picture, or cannot be written.
    """
    if image.source not in {"FILE", "GENERATED"} or image.type not in {"IMAGE", "UV_TEST"}:
        raise PhotoError(f"{image.name} is no single picture. Save it as a file and choose that.")
    if image.source == "FILE" and not image.is_dirty:
        own = Path(bpy.path.abspath(image.filepath_from_user(), library=image.library))
        if image.packed_file:
            return _written(folder / f"{_file_name(image)}{own.suffix or '.png'}", image.packed_file.data)  # type: ignore[arg-type]  # the stubs say str
        if own.is_file():
            return own.absolute()
    if not all(image.size):
        raise PhotoError(f"{image.name} has no picture to read. Reload it or choose another image.")
    return _written(folder / f"{_file_name(image)}.png", _png(image))


def _file_name(image: bpy.types.Image) -> str:
    """The image's name without a picture format's ending; the head is called after it."""
    return bpy.path.clean_name(Path(image.name).stem)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _png(image: bpy.types.Image) -> bytes:
    """The image's present pixels as an 8-bit PNG file; ``Image.save`` would change the image's own path in 4.2."""
    width, height = image.size
    values: Any = image.pixels
    pixels = np.empty(len(values), np.float32)
    values.foreach_get(pixels)
    rows = pixels.reshape(height, width, image.channels)[::-1].copy()  # Blender counts rows from the bottom.
    if image.is_float:
        rows[..., :3] = _srgb(rows[..., :3])
    samples = (rows.clip(0, 1) * 255 + 0.5).astype(np.uint8).reshape(height, -1)
    lines = np.concatenate((np.zeros((height, 1), np.uint8), samples), axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOUR_TYPES[image.channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _srgb(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Linear light as sRGB, IEC 61966-2-1."""
    light = linear.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
