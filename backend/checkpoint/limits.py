# SPDX-License-Identifier: Apache-2.0
"""What the numbers and words of a configuration from a file may be, so that a strange one is refused before any use."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from backend.errors import ModelError
from backend.generator.config import GeneratorConfig

LABEL_DIM = 25  # A camera: pose and lens.
MAX_SIZE = 2**17
MAX_SIDE = 2**12  # Of a picture or a plane, pixels.
MAX_LAYERS = 32
COUNTS = {"num_layers", "triplane_depth", "mapping_layers", "plane_depth"}  # Each makes its network deeper.
SIDES = {"plane_resolution", "background_resolution"}  # Reached from 4 by doubling.
SAMPLES = {"coarse_samples", "fine_samples"}
MAX_SAMPLES = 2**10  # Of a ray; published scripts go to 384.
MAY_BE_ZERO = {"pose_dim", "fine_samples"}


def check_sizes(options: Mapping[str, Any]) -> None:
    """No number of the options may make our network absurdly large.

    Raises:
        ModelError: One would.
    """
    waiting: list[tuple[str, Any]] = list(options.items())
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, one) for one in value]
        elif isinstance(value, int | float):
            limit = MAX_LAYERS if name in COUNTS else MAX_SIZE
            if not math.isfinite(value) or abs(value) > limit:
                _refuse(name, value)


def check_config(config: GeneratorConfig) -> None:
    """Every value is of its kind and makes sense.

    Raises:
        ModelError: One does not; it is named.
    """
    _check_fields(config)
    render = config.render
    if render.near is not None and render.far is not None and not 0 <= render.near < render.far:
        _refuse("ray_start", render.near)
    if render.coarse_samples < 4:
        _refuse("depth_resolution", render.coarse_samples)
    for name, positive in (("side", config.side), ("radius", config.camera.radius), ("focal", config.camera.focal)):
        if positive <= 0:
            _refuse(name, positive)
    if config.clamp is not None and config.clamp <= 0:
        _refuse("conv_clamp", config.clamp)
    if config.c_dim != LABEL_DIM:
        _refuse("c_dim", config.c_dim)
    if config.channel_base < config.plane_resolution:
        _refuse("channel_base", config.channel_base)


def _check_fields(part: Any) -> None:
    for name, hint in get_type_hints(type(part)).items():
        if name in {field.name for field in fields(part)}:
            value = getattr(part, name)
            if is_dataclass(value):
                _check_fields(value)
            elif not _fits(value, hint, name):
                _refuse(name, value)


def _fits(value: Any, hint: Any, name: str) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one, name) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds, [name] * 3))
    if hint is int:
        return type(value) is int and _is_count(value, name)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def _is_count(value: int, name: str) -> bool:
    if name in SIDES:
        return 4 <= value <= MAX_SIDE and value & (value - 1) == 0
    return (0 if name in MAY_BE_ZERO else 1) <= value <= (MAX_SAMPLES if name in SAMPLES else MAX_SIZE)


def _refuse(name: str, value: Any) -> None:
    raise ModelError(
        f"The checkpoint's option {ascii(name)[1:-1]} is {ascii(value)[:60]}, which no published network has.",
        code="checkpoint_options",
    )
