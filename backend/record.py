# SPDX-License-Identifier: Apache-2.0
"""The head record as one JSON string, for the GLB's extras and Blender's custom property."""

import base64
import json
import math
import zlib
from typing import Any

import numpy as np

from backend.errors import RecordError
from backend.head import SCHEMA, HeadRecord, RecordedPhoto, Slider

KEY = "protome_record"
HALF_PRECISION = frozenset({"plane_offset", "color_offset"})  # Large; their steps are far above half precision's.
DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint8")
ARRAY_LIMIT_BYTES = 1 << 30


def record_to_json(record: HeadRecord) -> str:
    """The record as ASCII JSON.

    Arrays are zlib-compressed; offsets of planes are stored in half precision, everything else exactly.

    Raises:
        ValueError: A number is not finite, or an array's type cannot be stored.
    """
    content = {
        "schema": record.schema,
        "generator": record.generator,
        "codes": _packed(record.codes),
        "camera": record.camera,
        "portrait_jpeg": base64.b64encode(record.portrait_jpeg).decode("ascii"),
        "photo_sha256": record.photo_sha256,
        "seed": record.seed,
        "settings": record.settings,
        "sliders": [
            {"name": slider.name, "group": slider.group, "minimum": slider.minimum, "maximum": slider.maximum}
            for slider in record.sliders
        ],
        "slider_values": record.slider_values,
    }
    if record.more_photos:  # Versions that know of one photo alone take up such a head from its main one.
        content["weight"] = record.weight
        content["more_photos"] = [
            {
                "camera": photo.camera,
                "portrait_jpeg": base64.b64encode(photo.portrait_jpeg).decode("ascii"),
                "weight": photo.weight,
                "codes": _packed(photo.codes),
            }
            for photo in record.more_photos
        ]
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def record_from_json(text: str) -> HeadRecord:
    """Read what ``record_to_json`` wrote.

    Raises:
        RecordError: The text is damaged (code ``record_damaged``) or of a later version (``record_newer``).
    """
    try:
        content = json.loads(text)
        _check_schema(content)
        return _record(content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, zlib.error, RecursionError) as error:
        raise RecordError(
            "The head's record is damaged. Import the head.glb again, or make the head anew from its photo.",
            code="record_damaged",
        ) from error


def _check_schema(content: dict[str, Any]) -> None:
    schema = content["schema"]
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ValueError(f"schema is {schema!r}")
    if schema > SCHEMA:
        raise RecordError(
            f"The head was made by a later version of Protome (record {schema}, this version reads {SCHEMA}). "
            "Update Protome, or make the head anew from its photo.",
            code="record_newer",
        )


def _record(content: dict[str, Any]) -> HeadRecord:
    return HeadRecord(
        generator={_text(name): _text(value) for name, value in content["generator"].items()},
        codes=_unpacked(content["codes"]),
        camera=_camera(content["camera"]),
        portrait_jpeg=_bytes(content["portrait_jpeg"]),
        photo_sha256=_text(content["photo_sha256"]),
        seed=_integer(content["seed"]),
        settings={_text(name): value for name, value in content["settings"].items()},
        sliders=[_slider(slider) for slider in content["sliders"]],
        slider_values={_text(name): _number(value) for name, value in content["slider_values"].items()},
        more_photos=[_photo(photo) for photo in content.get("more_photos", [])],
        weight=_weight(content.get("weight", 1.0)),
        schema=content["schema"],
    )


def _photo(content: dict[str, Any]) -> RecordedPhoto:
    return RecordedPhoto(
        camera=_camera(content["camera"]),
        portrait_jpeg=_bytes(content["portrait_jpeg"]),
        weight=_weight(content["weight"]),
        codes=_unpacked(content["codes"]),
    )


def _weight(value: Any) -> float:
    weight = _number(value)
    if not 0 < weight <= 1:
        raise ValueError(f"a photo has the weight {weight}")
    return weight


def _camera(content: dict[str, Any]) -> dict[str, list[list[float]]]:
    return {
        "cam2world": _matrix(content["cam2world"], size=4),
        "intrinsics": _matrix(content["intrinsics"], size=3),
    }


def _slider(content: dict[str, Any]) -> Slider:
    slider = Slider(
        name=_text(content["name"]),
        group=_text(content["group"]),
        minimum=_number(content["minimum"]),
        maximum=_number(content["maximum"]),
    )
    if slider.minimum > slider.maximum:
        raise ValueError(f"{slider.name} has an empty range")
    return slider


def _packed(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    return {name: _pack(name, array) for name, array in arrays.items()}


def _unpacked(content: dict[str, Any]) -> dict[str, np.ndarray]:
    return {_text(name): _unpack(array) for name, array in content.items()}


def _pack(name: str, array: np.ndarray) -> dict[str, Any]:
    with np.errstate(over="ignore"):  # Becomes infinite, which is refused below.
        stored = array.astype(np.float16) if name in HALF_PRECISION else array
    if stored.dtype.name not in DTYPES:
        raise ValueError(f"{name} has type {stored.dtype}, which a record cannot hold")
    if not np.isfinite(stored).all():
        raise ValueError(f"{name} holds numbers that are not finite, or too large to be stored")
    little_endian = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<"))
    data = base64.b64encode(zlib.compress(little_endian.tobytes(), 6)).decode("ascii")
    return {"dtype": stored.dtype.name, "shape": list(array.shape), "data": data}


def _unpack(content: dict[str, Any]) -> np.ndarray:
    if content["dtype"] not in DTYPES:
        raise ValueError(f"unknown type {content['dtype']!r}")
    dtype = np.dtype(content["dtype"]).newbyteorder("<")
    shape = [_integer(length) for length in content["shape"]]
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or size > ARRAY_LIMIT_BYTES:
        raise ValueError(f"impossible shape {shape}")
    inflate = zlib.decompressobj()
    data = inflate.decompress(_bytes(content["data"]), size + 1)
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes for shape {shape}")
    array = np.frombuffer(data, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
    if not np.isfinite(array).all():
        raise ValueError("numbers that are not finite")
    return array


def _matrix(rows: Any, *, size: int) -> list[list[float]]:
    matrix = [[_number(value) for value in row] for row in rows]
    if [len(row) for row in matrix] != [size] * size:
        raise ValueError(f"no {size} by {size} matrix")
    return matrix


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no finite number")
    return float(value)


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_text(value).encode("ascii"), validate=True)
