# SPDX-License-Identifier: Apache-2.0
"""Reads a photo file of any common kind into upright 8-bit sRGB pixels."""

import hashlib
import io
import logging
import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, UnidentifiedImageError

from backend.errors import PhotoError, missing_photo

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")  # Pillow counts the MPO files of some phones as JPEG.
MAX_MEGAPIXELS = 100
WORK_SIDE_PX = 4096  # Longer photos are shrunk to this; a 4K texture of the face needs no more.
MIN_SIDE_PX = 64
BACKDROP = 128  # Grey value behind transparent pixels.
FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)
FOCAL_RANGE_MM = (8.0, 1200.0)
MAX_CROP = 0.02  # A frame whose sides' ratio differs more from the camera's has been cropped.
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error)

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF_BLOCK, FOCAL_LENGTH, FOCAL_LENGTH_35MM = 0x8769, 0x920A, 0xA405
FRAME_WIDTH, FRAME_HEIGHT = 0xA002, 0xA003
FOCAL_PLANE_X_RESOLUTION, FOCAL_PLANE_UNIT = 0xA20E, 0xA210
MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """An upright photo.

    Args:
        pixels: sRGB.
        focal_35mm: Focal length for a full-frame picture of the same diagonal angle, mm; None when the file does
            not say, or has been cropped.
        sha256: Of the file.
        name: Of the file, for messages.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    focal_35mm: float | None
    sha256: str
    name: str


def read_photo(path: Path | str) -> Photo:
    """Reads a PNG, JPEG, WebP, TIFF, BMP or GIF file.

    Grey, palette, CMYK, transparent and 16-bit pictures and embedded colour profiles become 8-bit sRGB; the camera's
    orientation is applied; photos with a longer side than ``WORK_SIDE_PX`` are shrunk to it.

    Raises:
        PhotoError: The file is missing, no picture, damaged, too small or too large.
    """
    path = Path(path)
    data = _read_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and large pictures; both are handled here.
        image = _open(data, path.name)
        _check_size(image, path.name)
        focal_35mm = _focal_35mm(image)
        pixels = _decode(image, path.name)
    return Photo(pixels, focal_35mm, hashlib.sha256(data).hexdigest(), path.name)


def _read_file(path: Path) -> bytes:
    if path.is_dir():
        raise PhotoError(f"{path} is a folder. Choose one photo in it.", code="photo_is_folder")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise missing_photo(path) from error
    except OSError as error:
        raise PhotoError(
            f"{path} cannot be read: {error.strerror}. Check its permissions.", code="photo_unreadable"
        ) from error
    if not data:
        raise PhotoError(f"{path.name} is empty (0 bytes). Copy or export the photo again.", code="photo_empty")
    return data


def _open(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise PhotoError(
            f"{name} is not a picture that can be read. Save it as PNG, JPEG, WebP or TIFF.", code="photo_not_image"
        ) from error
    except DECODER_ERRORS as error:
        raise _damaged(name) from error


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
        raise _too_large(name)
    if min(image.size) < MIN_SIDE_PX:
        raise PhotoError(
            f"{name} is only {image.width} x {image.height} pixels. Use a photo of at least 256 x 256.",
            code="photo_too_small",
        )


def _too_large(name: str) -> PhotoError:
    return PhotoError(
        f"{name} has more than {MAX_MEGAPIXELS} megapixels. Shrink it or crop it to the person.", code="photo_too_large"
    )


def _damaged(name: str) -> PhotoError:
    return PhotoError(f"{name} is damaged or incomplete. Copy or export the photo again.", code="photo_damaged")


def _decode(image: Image.Image, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Upright sRGB pixels, at most ``WORK_SIDE_PX`` long."""
    try:
        image.draft(None, (WORK_SIDE_PX, WORK_SIDE_PX))  # JPEG decodes straight to a half, quarter or eighth.
        profile = image.info.get("icc_profile")
        image.load()
        turn = TURNS.get(_orientation(image) or 1)  # Loading has already turned a TIFF, and reset this.
        plain = _shrink(_to_eight_bits(image, name))
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except DECODER_ERRORS as error:
        raise _damaged(name) from error
    rgb = _flatten(plain, profile, name)
    return np.array(rgb if turn is None else rgb.transpose(turn), dtype=np.uint8)


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except DECODER_ERRORS:  # Damaged metadata says nothing; the pixels may still be fine.
        return None


def _to_eight_bits(image: Image.Image, name: str) -> Image.Image:
    """The picture in a mode with 8 bits per channel; Pillow has already cut 16-bit colour down to the high bytes."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise PhotoError(f"{name} has 32 bits per channel. Save it with 8 or 16 bits.", code="photo_unsupported")
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise PhotoError(f"{name} has 32 bits per channel. Save it with 8 or 16 bits.", code="photo_unsupported")
    if image.mode in {"P", "PA", "1", "La", "RGBa"} or "transparency" in image.info:
        return image.convert("RGBA")
    return image


def _shrink(image: Image.Image) -> Image.Image:
    """Averages whole blocks, then resamples, until the long side fits."""
    factor = max(image.size) / WORK_SIDE_PX
    if factor <= 1:
        return image
    width, height = (max(1, round(length / factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX if factor > 2 else Image.Resampling.HAMMING)


def _flatten(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """sRGB without transparency."""
    alpha = image.getchannel("A") if image.mode in {"LA", "RGBA"} else None
    opaque = image.convert({"LA": "L", "RGBA": "RGB"}[image.mode]) if alpha else image
    rgb = _to_srgb(opaque, profile, name)
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, (BACKDROP,) * 3), alpha)


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError) as error:
            logger.warning("%s has a colour profile that does not fit it (%s); its colours count as sRGB", name, error)
        else:
            return image.convert("RGB") if converted is None else converted
    return image.convert("RGB")


def _focal_35mm(image: Image.Image) -> float | None:
    """Full-frame equivalent from the metadata, mm."""
    try:
        exif = image.getexif().get_ifd(EXIF_BLOCK)
        if _is_cropped(image, exif):
            return None
        focal = float(exif.get(FOCAL_LENGTH_35MM) or 0) or _focal_from_sensor(image, exif)
    except (*DECODER_ERRORS, ZeroDivisionError):  # Damaged metadata says nothing; the pixels may still be fine.
        return None
    return focal if FOCAL_RANGE_MM[0] <= focal <= FOCAL_RANGE_MM[1] else None


def _is_cropped(image: Image.Image, exif: dict[int, object]) -> bool:
    """Whether the picture has other proportions than the frame the camera wrote."""
    frame = [float(exif.get(tag) or 0) for tag in (FRAME_WIDTH, FRAME_HEIGHT)]  # type: ignore[arg-type]
    if min(frame) <= 0:
        return False
    return abs(math.log((max(frame) / min(frame)) / (max(image.size) / min(image.size)))) > MAX_CROP


def _focal_from_sensor(image: Image.Image, exif: dict[int, object]) -> float:
    """Full-frame equivalent from the lens and the sensor's resolution, 0 when unknown."""
    focal_mm, resolution = (float(exif.get(tag) or 0) for tag in (FOCAL_LENGTH, FOCAL_PLANE_X_RESOLUTION))  # type: ignore[arg-type]
    width, height = (float(exif.get(tag) or 0) for tag in (FRAME_WIDTH, FRAME_HEIGHT))  # type: ignore[arg-type]
    mm_per_px = MM_PER_UNIT.get(int(exif.get(FOCAL_PLANE_UNIT) or 2), 0.0) / resolution if resolution else 0.0  # type: ignore[call-overload]
    diagonal_mm = (math.hypot(width, height) or math.hypot(*image.size)) * mm_per_px
    return focal_mm / diagonal_mm * FULL_FRAME_DIAGONAL_MM if diagonal_mm else 0.0
