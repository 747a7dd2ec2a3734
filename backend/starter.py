# SPDX-License-Identifier: Apache-2.0
"""The starter model as one file: networks, template and sliders."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.directions import Direction
from backend.errors import ModelError
from backend.generator.starter import StarterConfig, StarterGenerator
from backend.head import Slider
from backend.landmark_errors import LandmarkErrors
from backend.models import read_weights, write_weights
from backend.output import output_errors
from backend.skeleton import Skeleton
from backend.template import Template

# Bases are stored in bytes, one scale for each component: 0.4 % of its largest offset.
BYTE_ARRAYS = ("neutral", "shape", "expression")
LATTICES = ("body", "face")
DIRECTION_PARTS = ("w", "shape", "expression", "pose")
PLAIN_ARRAYS = ("vertices", "faces", "mirror", "landmark_faces", "landmark_weights", "landmark_noise")
ERROR_PARTS = ("bias", "factors", "rest")


@dataclass(frozen=True)
class Starter:
    """All of the starter model.

    Args:
        generator: The networks, in evaluation mode.
        template: Shape, expression and deformation.
        directions: The sliders.
        candidates: Descriptions ``(k, z_dim)`` of varied heads, an ordinary one first; inversion starts at the best.
        identity: ``id``, ``family``, ``licence`` and ``commercial_use``, for the record.
    """

    generator: StarterGenerator
    template: Template
    directions: list[Direction]
    candidates: Tensor
    identity: dict[str, str]


def save_starter(path: Path, starter: Starter) -> None:
    """Write the model; networks and distances in half precision, bases in bytes.

    Of a distance lattice the left half is stored, averaged with the mirror image of the other.

    Args:
        path: A ``.safetensors`` file.
        starter: The model; its lattices have an odd number of nodes from side to side.

    Raises:
        OutputError: The file cannot be written; one that was there before is unchanged.
    """
    generator, template = starter.generator, starter.template
    tensors = {f"network.{name}": value.half() for name, value in generator.state_dict().items()}
    for name in LATTICES:
        tensors[f"{name}_left"] = _left_half(getattr(generator, name)).half()
    tensors["face_box"] = generator.face_box
    for name in PLAIN_ARRAYS:
        tensors[f"template.{name}"] = torch.from_numpy(np.ascontiguousarray(_small(getattr(template, name))))
    kept = _kept_expressions(template)
    bases = {name: getattr(template, name) for name in BYTE_ARRAYS} | {"expression": template.expression[kept]}
    for name, basis in bases.items():
        tensors[f"template.{name}"], tensors[f"template.{name}.scale"] = _to_bytes(basis)
    tensors["template.joints"] = torch.from_numpy(_small(template.skeleton.joints))
    tensors["template.joint_shares"] = torch.from_numpy(template.joint_shares.astype(np.float16))
    if template.on_eye is not None:
        tensors["template.on_eye"] = torch.from_numpy(template.on_eye)
    tensors |= error_tensors(template.landmark_errors)
    tensors["candidates"] = starter.candidates
    for part in DIRECTION_PARTS:
        rows = np.stack([getattr(direction, part) for direction in starter.directions])
        tensors[f"directions.{part}"] = torch.from_numpy(rows.astype(np.float32))
    sliders = [vars(direction.slider) for direction in starter.directions]
    metadata = {
        **starter.identity,
        "config": json.dumps(generator.config.to_dict()),
        "expression_names": json.dumps(template.expression_names),
        "kept_expressions": json.dumps([template.expression_names[number] for number in kept]),
        "recolors": json.dumps([direction.slider.name for direction in starter.directions if direction.recolors]),
        "sliders": json.dumps(sliders),
    }
    with output_errors(path):
        write_weights(path, tensors, metadata)


def load_starter(path: Path) -> Starter:
    """Read what ``save_starter`` wrote.

    Raises:
        ModelError: The file is missing, damaged or no starter model.
    """
    tensors, metadata = read_weights(path)
    try:
        return _assemble(tensors, metadata)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} is not a starter model of this version. Install Protome again.", code="model_damaged"
        ) from error


def _assemble(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Starter:
    generator = _generator(tensors, json.loads(metadata["config"]))
    identity = {name: metadata[name] for name in ("id", "family", "licence", "commercial_use")}
    directions = _directions(tensors, json.loads(metadata["sliders"]), json.loads(metadata["recolors"]))
    return Starter(generator, _template(tensors, metadata), directions, tensors["candidates"], identity)


def _generator(tensors: dict[str, Tensor], config: dict[str, Any]) -> StarterGenerator:
    generator = StarterGenerator(
        StarterConfig(**{**config, **_tuples(config)}),
        **{name: _both_halves(tensors[f"{name}_left"].float()) for name in LATTICES},
        face_box=tensors["face_box"],
    )
    generator.load_state_dict(
        {name.removeprefix("network."): value.float() for name, value in tensors.items() if name.startswith("network.")}
    )
    return generator.eval().requires_grad_(False)


def _template(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Template:
    plain = {name: tensors[f"template.{name}"].numpy() for name in PLAIN_ARRAYS}
    wide = {name: value.astype(np.float64 if value.dtype.kind == "f" else np.int64) for name, value in plain.items()}
    bases = {name: _from_bytes(tensors[f"template.{name}"], tensors[f"template.{name}.scale"]) for name in BYTE_ARRAYS}
    names, kept = tuple(json.loads(metadata["expression_names"])), json.loads(metadata["kept_expressions"])
    bases["expression"] = _all_expressions(names, kept, bases["expression"], wide["mirror"])
    return Template(
        **wide,
        **bases,
        expression_names=names,
        skeleton=Skeleton(tensors["template.joints"].double().numpy()),
        joint_shares=tensors["template.joint_shares"].double().numpy(),
        landmark_errors=_landmark_errors(tensors),
        on_eye=tensors["template.on_eye"].numpy() if "template.on_eye" in tensors else None,
    )


def _directions(tensors: dict[str, Tensor], sliders: list[dict[str, Any]], recolors: list[str]) -> list[Direction]:
    parts = [tensors[f"directions.{part}"].numpy().astype(np.float64) for part in DIRECTION_PARTS]
    return [
        Direction(Slider(**slider), w, shape, expression, pose, recolors=slider["name"] in recolors)
        for slider, w, shape, expression, pose in zip(sliders, *parts, strict=True)
    ]


def error_tensors(errors: LandmarkErrors | None) -> dict[str, Tensor]:
    """What a starter's file holds of them; nothing where they were never measured. Parts in half precision, in mm."""
    if errors is None:
        return {}
    return {_error_name(part): torch.from_numpy(1000 * getattr(errors, part)).half() for part in ERROR_PARTS}


def write_landmark_errors(path: Path, errors: LandmarkErrors) -> None:
    """Put what was measured of landmarks into a starter's file; all else stays as it is, bit by bit.

    Raises:
        ModelError: The file is missing or damaged.
        OutputError: It cannot be written; it stays as it was.
    """
    tensors, metadata = read_weights(path)
    metadata.pop("sha256", None)
    with output_errors(path):
        write_weights(path, tensors | error_tensors(errors), metadata)


def _landmark_errors(tensors: dict[str, Tensor]) -> LandmarkErrors | None:
    """The inverse of ``error_tensors``."""
    if _error_name("bias") not in tensors:
        return None
    return LandmarkErrors(*(tensors[_error_name(part)].double().numpy() / 1000 for part in ERROR_PARTS))


def _error_name(part: str) -> str:
    return f"template.landmark_errors.{part}"


def _tuples(config: dict[str, Any]) -> dict[str, object]:
    """What JSON has made lists of."""
    choices = tuple((first, count) for first, count in config.get("choices", ()))
    return {"channels": tuple(config["channels"]), "choices": choices}


def _kept_expressions(template: Template) -> list[int]:
    """Numbers of the expressions that are not exact mirror images of one that is kept."""
    names = template.expression_names
    kept = []
    for number, name in enumerate(names):
        twin = f"{name.removesuffix('Right')}Left"
        is_image = name.endswith("Right") and twin in names
        if is_image:
            image = template.expression[names.index(twin)][template.mirror] * [-1, 1, 1]
            is_image = np.array_equal(image, template.expression[number])
        if not is_image:
            kept.append(number)
    return kept


def _all_expressions(names: tuple[str, ...], kept: list[str], basis: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The kept expressions with the mirror images that were left out, in the order of ``names``."""
    found = dict(zip(kept, basis, strict=True))
    for name in names:
        if name not in found:
            found[name] = found[f"{name.removesuffix('Right')}Left"][mirror] * [-1, 1, 1]
    return np.stack([found[name] for name in names])


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int32) if array.dtype.kind == "i" else array.astype(np.float32)


def _left_half(lattice: Tensor) -> Tensor:
    """The nodes from the middle plane to the subject's left."""
    if len(lattice) % 2 == 0:
        raise ValueError(f"a lattice needs an odd number of nodes from side to side, got {len(lattice)}")
    return (lattice + lattice.flip(0))[len(lattice) // 2 :] / 2


def _both_halves(left: Tensor) -> Tensor:
    """The inverse of ``_left_half`` for a symmetric lattice."""
    return torch.cat([left.flip(0)[:-1], left])


def _to_bytes(offsets: np.ndarray) -> tuple[Tensor, Tensor]:
    """Bytes and the scale of each component (last two axes: vertices, coordinates)."""
    scale = np.abs(offsets).max(axis=(-2, -1), keepdims=True) / 127
    scale = np.maximum(scale, 1e-12)
    return torch.from_numpy(np.rint(offsets / scale).astype(np.int8)), torch.from_numpy(scale.astype(np.float32))


def _from_bytes(values: Tensor, scale: Tensor) -> np.ndarray:
    return (values.float() * scale).numpy().astype(np.float64)
