# SPDX-License-Identifier: GPL-3.0-or-later
"""The chosen photo as a file that the worker can read."""

from __future__ import annotations

from pathlib import Path

import bpy

from .errors import PhotoError
from .properties import PROTOME_PG_settings

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp", "TARGA": ".tga"}


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
            return _written(folder / f"photo{own.suffix or '.png'}", image.packed_file.data)
        if own.is_file():
            return own.absolute()
    copy = folder / f"photo{SUFFIXES.get(image.file_format, '.png')}"
    try:
        image.save(filepath=str(copy), save_copy=True)
    except RuntimeError as error:
        raise PhotoError(f"{image.name} has no picture to read. Reload it or choose another image.") from error
    return copy


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
