# SPDX-License-Identifier: Apache-2.0
"""Constructor arguments of a network whose file holds tensors only: sizes from the shapes, the rest as published.

Source:
    EG3D.md sections 2.9, 2.10, 4.1 and 5, and the state dicts listed beside it.
"""

from collections.abc import Mapping
from typing import Any

from backend.errors import ModelError
from backend.generator.config import Family

Shapes = Mapping[str, tuple[int, ...]]

MARK = "backbone.synthesis.b4.const"
PLANES_OF_POINT = 3
PLANE_FEATURES = 32
# By the side of the final picture; 8XDC alone has no filter of its own.
SUPERRESOLUTION_SIDES = {512: "SuperresolutionHybrid8X", 256: "SuperresolutionHybrid4X", 128: "SuperresolutionHybrid2X"}

_FACES: dict[str, Any] = {
    "c_scale": 1.0,
    "clamp_mode": "softplus",
    "decoder_lr_mul": 1.0,
    "sr_antialias": True,
    "superresolution_noise_mode": "none",
    "depth_resolution": 48,
    "depth_resolution_importance": 48,
    "ray_start": 2.25,
    "ray_end": 3.3,
    "box_warp": 1,
    "avg_camera_radius": 2.7,
    "avg_camera_pivot": [0, 0, 0.2],
}
_CARS: dict[str, Any] = {
    **_FACES,
    "c_gen_conditioning_zero": True,
    "depth_resolution": 64,
    "depth_resolution_importance": 64,
    "ray_start": 0.1,
    "ray_end": 2.6,
    "box_warp": 1.6,
    "white_back": True,
    "avg_camera_radius": 1.7,
    "avg_camera_pivot": [0, 0, 0],
}
_GRID: dict[str, Any] = {
    **_FACES,
    "decoder_activation": "none",
    "use_torgb_raw": True,
    "use_background": True,
}


def family_of_shapes(shapes: Shapes) -> Family:
    """Which published generator has tensors of these names and shapes.

    Raises:
        ModelError: None has.
    """
    if MARK not in shapes or "backbone.mapping.fc0.weight" not in shapes:
        raise ModelError(f"This is no generator that Protome knows: {_guess(shapes)}.", code="checkpoint_network")
    if "pose_branch.net.0.weight" in shapes:
        return "portrait3d"
    if "t_mapping.fc0.weight" in shapes or _plane_depth(shapes) > 1:
        return "panohead"
    return "eg3d"


def options_of_shapes(shapes: Shapes, family: Family) -> tuple[dict[str, Any], dict[str, Any]]:
    """`init_kwargs` and `rendering_kwargs` as the published network of these shapes has them.

    Raises:
        ModelError: A tensor that tells a size is missing.
    """
    try:
        return _init(shapes, family), _rendering(shapes, family)
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(
            f"This is no whole generator: its tensor {error} is missing or has another shape.", code="checkpoint_keys"
        ) from error


def _init(shapes: Shapes, family: Family) -> dict[str, Any]:
    w_dim, label = shapes["backbone.mapping.embed.weight"]
    layers = sum(name.startswith("backbone.mapping.fc") and name.endswith(".weight") for name in shapes)
    base, largest = _channels(shapes)
    return {
        "z_dim": shapes["backbone.mapping.fc0.weight"][1] - w_dim,
        "c_dim": label - 6 if family == "portrait3d" else label,
        "w_dim": w_dim,
        "img_channels": 3,
        "mapping_kwargs": {"num_layers": layers},
        "channel_base": base,
        "channel_max": largest,
        "sr_num_fp16_res": 4,
    }


def _channels(shapes: Shapes) -> tuple[int, int]:
    """Base and limit that give each block its channels, min(base / side, limit)."""
    largest, side, _ = shapes[MARK]
    while (name := f"backbone.synthesis.b{2 * side}.conv1.weight") in shapes:
        side *= 2
        if shapes[name][0] < largest:
            return shapes[name][0] * side, largest
    return largest * side, largest


def _rendering(shapes: Shapes, family: Family) -> dict[str, Any]:
    side = shapes["superresolution.block1.conv1.noise_const"][0]
    name = "SuperresolutionHybrid8XDC"
    if "superresolution.resample_filter" in shapes:
        if side not in SUPERRESOLUTION_SIDES:
            raise ModelError(
                f"Its super-resolution makes pictures of {side} pixels, which no published network does.",
                code="checkpoint_network",
            )
        name = SUPERRESOLUTION_SIDES[side]
    options = dict(_CARS if name.endswith("2X") else _FACES)
    if family != "eg3d":
        options = {**_GRID, "triplane_depth": _plane_depth(shapes)}
    return options | {"superresolution_module": name}


def _plane_depth(shapes: Shapes) -> int:
    features = sum(shapes.get("decoder.net.0.weight", ())[-1:]) or PLANE_FEATURES
    return sum(shapes.get("backbone.synthesis.b4.torgb.bias", ())[:1]) // (PLANES_OF_POINT * features)


def _guess(shapes: Shapes) -> str:
    """What a file without a generator of heads looks like."""
    names = list(shapes)
    if "synthesis.b4.const" in shapes:
        return "it looks like StyleGAN2, which makes flat pictures only"
    if any(name.startswith("synthesis.L0") for name in names):
        return "it looks like StyleGAN3, which makes flat pictures only"
    if any(name.startswith(("network.", "template.")) for name in names):
        return "it looks like a model of Protome's own kind, which is not added but comes with the program"
    shown = ", ".join(ascii(name[:60])[1:-1] for name in sorted(names)[:3])
    return f"its tensors have names like {shown}" if names else "it holds no tensors"
