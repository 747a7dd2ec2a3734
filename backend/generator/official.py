# SPDX-License-Identifier: Apache-2.0
"""What a published checkpoint says about itself, as the configuration of our generator.

A checkpoint holds the arguments of its constructor (`init_kwargs`), one of which is a table of rendering options
(`rendering_kwargs`; when the object holds an edited table, that one counts), and tensors. Sizes that the published
constructors do not take as arguments are read from the tensors' shapes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from backend.errors import ModelError
from backend.generator.body_pose import POSE_DIM
from backend.generator.config import (
    CameraConfig,
    Family,
    GeneratorConfig,
    RenderConfig,
    SuperResolutionConfig,
    SuperResolutionKind,
)
from backend.generator.plane_generator import PlaneGenerator

Shapes = Mapping[str, tuple[int, ...]]

# Per published class: our kind, side of its input, features of its blocks.
SUPERRESOLUTIONS: dict[str, tuple[SuperResolutionKind, int, tuple[int, int]]] = {
    "SuperresolutionHybrid8XDC": ("8XDC", 128, (256, 128)),
    "SuperresolutionHybrid8X": ("8X", 128, (128, 64)),
    "SuperresolutionHybrid4X": ("4X", 128, (128, 64)),
    "SuperresolutionHybrid2X": ("2X", 64, (128, 64)),
    "SuperresolutionHybridDeepfp32": ("4X", 128, (128, 64)),
}

NAMES_SHOWN = 12

_NECK = (0.0, 0.0649, 0.0)
# The look-at point and focal length that a family's scripts use; EG3D's scripts read the point from the options.
_CAMERAS: dict[Family, CameraConfig] = {
    "eg3d": CameraConfig(),
    "panohead": CameraConfig(pivot=(0.0, 0.0, 0.0)),
    "portrait3d": CameraConfig(pivot=_NECK, focal=5000 / 1024 / 0.75),
}
# Cars were photographed with the lens of the SRN data set: 131.25 pixels at a width of 128.
_CARS_FOCAL = 131.25 / 128

_INIT_USED = {
    "z_dim c_dim w_dim img_channels mapping_kwargs channel_base channel_max conv_clamp sr_num_fp16_res architecture",
    "rendering_kwargs thickness",
}
_INIT_WITHOUT_EFFECT = {
    # Sizes that follow from the super-resolution, evaluation speed, number of heads trained at once.
    "img_resolution num_fp16_res sr_kwargs fused_modconv_default batch_size explicitly_symmetry class_name",
}
_OPTIONS_USED = {
    "superresolution_module c_gen_conditioning_zero c_scale superresolution_noise_mode decoder_lr_mul sr_antialias",
    "depth_resolution depth_resolution_importance ray_start ray_end box_warp white_back disparity_space_sampling",
    "clamp_mode avg_camera_radius avg_camera_pivot decoder_activation use_torgb_raw use_background triplane_depth",
}
_OPTIONS_OF_TRAINING = {
    "image_resolution triplane_size gpc_reg_prob gpc_reg_fade_kimg density_reg density_reg_p_dist density_noise",
    "reg_type trans_reg",
}


def family_of(init_kwargs: Mapping[str, Any], rendering_kwargs: Mapping[str, Any]) -> Family:
    """Whose checkpoint wrote these arguments."""
    if "thickness" in init_kwargs or "explicitly_symmetry" in init_kwargs:
        return "portrait3d"
    if {"triplane_size", "trans_reg"} & set(rendering_kwargs):
        return "panohead"
    return "eg3d"


def config_of(
    init_kwargs: Mapping[str, Any],
    rendering_kwargs: Mapping[str, Any] | None = None,
    *,
    family: Family | None = None,
    shapes: Shapes | None = None,
    neural_resolution: int | None = None,
) -> GeneratorConfig:
    """The configuration of a published checkpoint.

    Args:
        init_kwargs: Of the constructor.
        rendering_kwargs: Those of the object; else those in `init_kwargs`.
        family: Found by `family_of` when omitted.
        shapes: Of the tensors, by name; the published sizes when omitted.
        neural_resolution: The object's attribute, pixels.

    Raises:
        ModelError: An option is missing or has a value that no published model uses, or an argument is unknown.
    """
    init = dict(init_kwargs)
    options = dict(rendering_kwargs or init.get("rendering_kwargs") or {})
    _refuse_unknown(init)
    try:
        config = _translate(init, options, family or family_of(init, options))
    except KeyError as error:
        raise ModelError(
            f"This checkpoint does not say {error}; it is none that Protome can convert.", code="checkpoint_options"
        ) from error
    if neural_resolution is not None:
        config = replace(config, neural_resolution=neural_resolution)
    return config if shapes is None else resized(config, shapes)


def resized(config: GeneratorConfig, shapes: Shapes) -> GeneratorConfig:
    """The configuration with those sizes that the published constructors hard-code taken from tensors' shapes.

    Args:
        config: Of a published model.
        shapes: Of the tensors, by name.
    """
    backbone = _largest_block(shapes, "backbone.synthesis")
    changes: dict[str, Any] = {
        "plane_resolution": backbone or config.plane_resolution,
        "background_resolution": config.background_resolution and _largest_block(shapes, "bcg_synthesis"),
    }
    decoder, outputs = (shapes.get(f"decoder.net.{layer}.weight") for layer in (0, 2))
    if decoder and outputs:
        changes |= {
            "decoder_hidden": decoder[0],
            "plane_channels": decoder[1],
            "decoder_outputs": outputs[0] - 1,
        }
    first, last = (shapes.get(f"superresolution.block{block}.conv1.weight") for block in (0, 1))
    side = shapes.get("superresolution.block1.conv1.noise_const")
    if config.superresolution is not None and first and last and side:
        factor = 4 if config.superresolution.upsamples_twice else 2
        changes["superresolution"] = replace(
            config.superresolution, channels=(first[0], last[0]), input_resolution=side[0] // factor
        )
    return replace(config, **changes)


def expected_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a generator of this configuration loads; no memory is used for them."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in PlaneGenerator(config).state_dict().items()}


def is_ignored(name: str) -> bool:
    """Whether a published tensor is none of the generator's: a training statistic, or a body that was its maker's."""
    return name == "dataset_label_std" or name.startswith("renderer.")


def unknown_options(rendering_kwargs: Mapping[str, Any]) -> list[str]:
    """Rendering options that we do not have. Training scripts write many that no picture depends on, and more."""
    return sorted(set(rendering_kwargs) - _words(_OPTIONS_USED | _OPTIONS_OF_TRAINING))


def _translate(init: Mapping[str, Any], options: Mapping[str, Any], family: Family) -> GeneratorConfig:
    _require(init.get("img_channels", 3) == 3, "pictures that are not RGB")
    _require(init.get("architecture", "skip") == "skip", f"the architecture {init.get('architecture')!r}")
    _require(options.get("clamp_mode", "softplus") == "softplus", f"the density clamp {options.get('clamp_mode')!r}")
    mapping = dict(init.get("mapping_kwargs", {}))
    _require(set(mapping) <= {"num_layers"}, f"the mapping options {sorted(set(mapping) - {'num_layers'})}")
    superresolution = _superresolution(init, options)
    is_grid = family != "eg3d"
    return GeneratorConfig(
        family=family,
        z_dim=init["z_dim"],
        c_dim=init["c_dim"],
        pose_dim=POSE_DIM if family == "portrait3d" else 0,
        w_dim=init["w_dim"],
        mapping_layers=mapping.get("num_layers", 8),
        conditioning_scale=0.0 if options.get("c_gen_conditioning_zero") else float(options.get("c_scale", 0.0)),
        channel_base=init["channel_base"],
        channel_max=init["channel_max"],
        clamp=init.get("conv_clamp"),
        plane_depth=options.get("triplane_depth", 1) if is_grid else 1,
        plane_axes="corrected" if is_grid else "eg3d",
        decoder_lr_multiplier=float(options["decoder_lr_mul"]),
        feature_activation=options.get("decoder_activation", "sigmoid") if is_grid else "sigmoid",
        side=float(options["box_warp"]),
        empty_margin=0.1 if is_grid else None,
        mesh_share=0.8 if family == "portrait3d" else 1.0,
        raw_level=15.0 if family == "portrait3d" else 10.0,
        background_resolution=superresolution.input_resolution if is_grid and options.get("use_background") else None,
        has_torgb=is_grid and bool(options.get("use_torgb_raw")),
        has_camera_shift=family == "panohead",
        deform_reach=float(init.get("thickness", 0.25)),
        neural_resolution=64 if superresolution.kind == "2X" else 128,
        render=_render(options),
        superresolution=superresolution,
        camera=_camera(options, family, superresolution.kind),
    )


def _render(options: Mapping[str, Any]) -> RenderConfig:
    near, far = options["ray_start"], options["ray_end"]
    is_auto = near == "auto"
    _require(is_auto == (far == "auto"), f"ray limits from {near} to {far}")
    return RenderConfig(
        near=None if is_auto else float(near),
        far=None if is_auto else float(far),
        coarse_samples=options["depth_resolution"],
        fine_samples=options.get("depth_resolution_importance", 0),
        disparity=bool(options.get("disparity_space_sampling", False)),
        white_back=bool(options.get("white_back", False)),
    )


def _superresolution(init: Mapping[str, Any], options: Mapping[str, Any]) -> SuperResolutionConfig:
    # Forks moved the class to other packages; its name stayed.
    name = options["superresolution_module"].split(".")[-1]
    _require(name in SUPERRESOLUTIONS, f"the super-resolution {name}")
    kind, resolution, channels = SUPERRESOLUTIONS[name]
    return SuperResolutionConfig(
        kind,
        resolution,
        channels,
        antialias=bool(options.get("sr_antialias", True)) and name != "SuperresolutionHybridDeepfp32",
        clamp=256.0 if init.get("sr_num_fp16_res", 4) > 0 else None,
        noise=options.get("superresolution_noise_mode", "none"),
    )


def _camera(options: Mapping[str, Any], family: Family, kind: SuperResolutionKind) -> CameraConfig:
    camera = _CAMERAS[family]
    if family != "eg3d":
        return camera
    x, y, z = options.get("avg_camera_pivot", camera.pivot)
    return CameraConfig(
        radius=float(options.get("avg_camera_radius", camera.radius)),
        pivot=(float(x), float(y), float(z)),
        focal=_CARS_FOCAL if kind == "2X" else camera.focal,
    )


def _largest_block(shapes: Shapes, prefix: str) -> int | None:
    matches = (re.match(rf"{re.escape(prefix)}\.b(\d+)\.", name) for name in shapes)
    return max((int(match[1]) for match in matches if match), default=None)


def _refuse_unknown(init: Mapping[str, Any]) -> None:
    unknown = set(init) - _words(_INIT_USED | _INIT_WITHOUT_EFFECT)
    if unknown:
        named = ", ".join(sorted(unknown)[:NAMES_SHOWN])
        raise ModelError(
            f"This checkpoint has options that Protome does not know: {named}. It cannot be converted.",
            code="checkpoint_options",
        )


def _words(lines: Iterable[str]) -> set[str]:
    return {word for line in lines for word in line.split()}


def _require(is_known: bool, what: str) -> None:
    if not is_known:
        raise ModelError(
            f"This checkpoint uses {what}, which Protome cannot compute. It cannot be converted.",
            code="checkpoint_options",
        )
