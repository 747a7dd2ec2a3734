# SPDX-License-Identifier: Apache-2.0
"""The generator's operations and EG3D's camera helpers against numbers of the published code."""

import math
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from backend.generator import eg3d_camera, layers, rays, volume
from backend.generator.config import GeneratorConfig, RenderConfig
from backend.generator.family import signed_features
from backend.generator.pose_predictor import FilteredConv, halving_conv
from tests.unit.parity import Fixture, fixtures

Stored = dict[str, Tensor]
Entries = Iterator[tuple[str, Tensor]]

# What the operations were given, and a way of resizing ("classic") that no published network's result goes through.
GIVEN = re.compile(
    r"in\.|fc\..*\.(weight|bias|x)$|synlayer\.(state\.|[xw]$)|conv2dlayer\.(state\.|x$)|resize\.(in|filtered_classic_\d+)$"
    r"|march\.(colors|densities|depths)$|stratified\..*\.(u|near|far)$|importance\.inject\.u$|box\.[od]$"
    r"|lookat\.(hv|pivot|radius)$|fov\.deg$|create\.(forward|origin)$"
)


def _resampling(io: Stored) -> Entries:
    fir, x, asymmetric = layers.binomial_filter(), io["in.x"], io["in.asym_fir"]
    yield "fir", fir
    yield "upsample2d", layers.upsample2(x, fir)
    yield "downsample2d", layers.upfirdn(x, fir, down=2, pad=(1, 1, 1, 1))
    yield "filter2d", layers.upfirdn(x, fir, pad=(2, 1, 2, 1))
    yield "upfirdn2d.asym_up2_pad2101_gain4", layers.upfirdn(x, asymmetric, up=2, pad=(2, 1, 0, 1), gain=4)
    yield "upfirdn2d.asym_down2_padm1", layers.upfirdn(x, asymmetric, down=2, pad=(-1, 2, 1, -1))


def _resizing(io: Stored) -> Entries:
    image = io["resize.in"]
    for size in (12, 48):
        resized = functional.interpolate(image, (size, size), mode="bilinear", antialias=True)
        yield f"resize.filtered_antialiased_{size}", resized
    yield "resize.filtered_none_12", functional.interpolate(image, (12, 12), mode="bilinear")


def _resampling_convolutions(io: Stored) -> Entries:
    x, w3, w1, fir = io["in.xs"], io["in.w3"], io["in.w1"], layers.binomial_filter()
    yield "conv_resample.3x3_plain", layers.convolve(x, w3)
    yield "conv_resample.3x3_up2", layers.convolve(x, w3, fir=fir)
    yield "conv_resample.3x3_down2", halving_conv(x, w3)
    yield "conv_resample.1x1_down2", halving_conv(x, w1)
    small = layers.modulated_sum(x, w1, torch.ones(2, 3), torch.zeros(5))
    yield "conv_resample.1x1_up2", layers.upsample2(small, fir)


def _activations(io: Stored) -> Entries:
    x, bias = io["in.x"], io["in.b"]
    for activation in ("linear", "lrelu", "relu", "softplus", "sigmoid"):
        yield f"bias_act.{activation}", layers.bias_act(x, bias, activation=activation)
    clamped = layers.bias_act(x, bias, activation="lrelu", gain=0.7, clamp=0.4)
    yield "bias_act.lrelu_gain0.7_clamp0.4", clamped


def _dense_layers(io: Stored) -> Entries:
    options = {"lin": {}, "lrelu_lr001": {"activation": "lrelu", "lr_multiplier": 0.01}, "nobias": {"bias": False}}
    for name, chosen in options.items():
        weight = io[f"fc.{name}.weight"]
        layer = layers.FullyConnected(weight.shape[1], weight.shape[0], **chosen)
        layer.load_state_dict({"weight": weight} | ({} if name == "nobias" else {"bias": io[f"fc.{name}.bias"]}))
        yield f"fc.{name}.y", layer(io[f"fc.{name}.x"])


def _modulated_convolutions(io: Stored) -> Entries:
    x, style, w3, w1 = (io[f"in.{name}"] for name in ("xs", "styles", "w3", "w1"))
    fir = layers.binomial_filter()
    plain = layers.modulated_conv(x, w3, style) + io["in.noise8"]
    yield "modconv.demod_fused", plain
    yield "modconv.demod_unfused", plain
    yield "modconv.demod_up2", layers.modulated_conv(x, w3, style, fir=fir) + io["in.noise16"]
    yield "modconv.nodemod_1x1", layers.modulated_sum(x, w1, style, torch.zeros(5))


def _synthesis_layer(io: Stored) -> Entries:
    prefix = "synlayer.state."
    layer = layers.SynthesisLayer(4, 6, w_dim=5, resolution=8, upsample=True, clamp=0.9)
    layer.load_state_dict({key.removeprefix(prefix): value for key, value in io.items() if key.startswith(prefix)})
    x, w = io["synlayer.x"], io["synlayer.w"]
    yield "synlayer.y_const", layer(x, w, noise="const")
    yield "synlayer.y_none_gain0.5", layer(x, w, noise="none", gain=0.5)


def _halving_layer(io: Stored) -> Entries:
    for name, gain in (("y", 1.0), ("y_gain_sqrt.5", math.sqrt(0.5))):
        layer = FilteredConv(4, 6, 3, halve=True, gain=gain, clamp=2.0)
        layer.load_state_dict({key: io[f"conv2dlayer.state.{key}"] for key in ("weight", "bias")})
        yield f"conv2dlayer.{name}", layer(io["conv2dlayer.x"])


def _ray_marching(io: Stored) -> Entries:
    depths, density = (io[f"march.{name}"].squeeze(-1) for name in ("depths", "densities"))
    features, depth, opacity = volume.composite(depths, density, io["march.colors"])
    depth = depth.nan_to_num(torch.inf).clamp(depths.min(), depths.max())
    for name, is_white in (("white0", False), ("white1", True)):
        config = GeneratorConfig(render=RenderConfig(white_back=is_white))
        yield f"march.{name}.weights", volume.segment_weights(depths, density)[..., None]
        yield f"march.{name}.depth", depth[..., None]
        yield f"march.{name}.rgb", signed_features(volume.Rendering(features, depth, opacity), config)


def _stratified_depths(io: Stored) -> Entries:
    for name, near, far in (("linear", 2.25, 3.3), ("disparity", 2.0, 3.4), ("tensor_limits", None, None)):
        jitter = io[f"stratified.{name}.u"].squeeze(-1)
        if near is None:
            limits = [io[f"stratified.{name}.{end}"].squeeze(-1) for end in ("near", "far")]
        else:
            limits = [torch.full(jitter.shape[:2], end) for end in (near, far)]
        depths = volume.coarse_depths(*limits, jitter.shape[2], jitter=jitter, disparity=name == "disparity")
        yield f"stratified.{name}.depths", depths[..., None]


def _importance_depths(io: Stored) -> Entries:
    depths, weights = io["march.depths"].squeeze(-1), io["march.white0.weights"].squeeze(-1)
    u = io["importance.inject.u"].reshape(*depths.shape[:2], -1)
    yield "importance.inject.depths", volume.fine_depths(depths, weights, u)[..., None]
    even = torch.linspace(0, 1, u.shape[-1]).expand_as(u)
    yield "importance.det.depths", volume.fine_depths(depths, weights, even)[..., None]


def _cube_crossings(io: Stored) -> Entries:
    near, far, hits = rays.cross_cube(io["box.o"], io["box.d"], 1.0)
    yield "box.near", torch.where(hits, near, -1)[..., None]
    yield "box.far", torch.where(hits, far, -2)[..., None]


def _camera_poses(io: Stored) -> Entries:
    angles, pivots, radii = (io[f"lookat.{name}"].double().numpy() for name in ("hv", "pivot", "radius"))
    for key, targets in (("lookat.cam2world", pivots), ("gaussian_std0.cam2world", np.zeros_like(pivots))):
        rows = zip(angles, targets, radii, strict=True)
        poses = [eg3d_camera.orbit_pose(*angle, pivot=pivot, radius=radius) for angle, pivot, radius in rows]
        yield key, torch.from_numpy(np.stack(poses))
    pairs = zip(*(io[f"create.{name}"].double().numpy() for name in ("forward", "origin")), strict=True)
    yield "create.cam2world", torch.from_numpy(np.stack([eg3d_camera.pose_looking(*pair) for pair in pairs]))


def _lenses(io: Stored) -> Entries:
    lenses = [eg3d_camera.fov_to_intrinsics(float(fov_deg)) for fov_deg in io["fov.deg"]]
    yield "fov.intrinsics", torch.from_numpy(np.stack(lenses))


OPERATIONS = (
    _resampling,
    _resizing,
    _resampling_convolutions,
    _activations,
    _dense_layers,
    _modulated_convolutions,
    _synthesis_layer,
    _halving_layer,
    _ray_marching,
    _stratified_depths,
    _importance_depths,
    _cube_crossings,
)
CAMERAS = (_camera_poses, _lenses)


def _is_operations(meta: dict) -> bool:
    return meta["target"].startswith("StyleGAN2 primitive ops")


def _is_cameras(meta: dict) -> bool:
    return meta["target"] == "camera helpers"


@pytest.mark.parametrize("stage", OPERATIONS, ids=lambda stage: stage.__name__.strip("_"))
@pytest.mark.parametrize("path", fixtures(_is_operations))
def test_operations_agree(path, stage):
    fixture = Fixture(path)
    for key, value in stage(fixture.io):
        fixture.check(key, value)


@pytest.mark.parametrize("stage", CAMERAS, ids=lambda stage: stage.__name__.strip("_"))
@pytest.mark.parametrize("path", fixtures(_is_cameras))
def test_cameras_agree(path, stage):
    fixture = Fixture(path)
    for key, value in stage(fixture.io):
        fixture.check(key, value)


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        pytest.param(*param.values, stages, id=param.id, marks=param.marks)
        for accept, stages in ((_is_operations, OPERATIONS), (_is_cameras, CAMERAS))
        for param in fixtures(accept)
    ],
)
def test_nothing_stored_is_left_out(path, stages):
    io = Fixture(path).io
    compared = {key for stage in stages for key, _ in stage(io)}
    assert {key for key in io if not GIVEN.match(key)} == compared
