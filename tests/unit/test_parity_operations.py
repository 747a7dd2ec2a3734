# SPDX-License-Identifier: Apache-2.0
"""The generator's operations and EG3D's camera helpers against numbers of the published code."""

import numpy as np
import pytest
import torch

from backend.generator import eg3d_camera, layers, rays, volume
from backend.generator.config import GeneratorConfig, RenderConfig
from backend.generator.plane_generator import signed_features
from tests.unit.parity import Fixture, fixtures


@pytest.fixture(scope="module", params=fixtures(lambda meta: meta["target"].startswith("StyleGAN2 primitive ops")))
def ops(request):
    return Fixture(request.param)


@pytest.fixture(scope="module", params=fixtures(lambda meta: meta["target"] == "camera helpers"))
def cameras(request):
    return Fixture(request.param)


def test_resampling_agrees(ops):
    fir, x, asymmetric = layers.binomial_filter(), ops.io["in.x"], ops.io["in.asym_fir"]
    ops.check("fir", fir)
    ops.check("upsample2d", layers.upsample2(x, fir))
    ops.check("downsample2d", layers.upfirdn(x, fir, down=2, pad=(1, 1, 1, 1)))
    ops.check("filter2d", layers.upfirdn(x, fir, pad=(2, 1, 2, 1)))
    up = layers.upfirdn(x, asymmetric, up=2, pad=(2, 1, 0, 1), gain=4)
    ops.check("upfirdn2d.asym_up2_pad2101_gain4", up)
    ops.check("upfirdn2d.asym_down2_padm1", layers.upfirdn(x, asymmetric, down=2, pad=(-1, 2, 1, -1)))


@pytest.mark.parametrize("activation", ["linear", "lrelu", "relu", "softplus", "sigmoid"])
def test_activations_agree(ops, activation):
    x, bias = ops.io["in.x"], ops.io["in.b"]
    ops.check(f"bias_act.{activation}", layers.bias_act(x, bias, activation=activation))


def test_clamped_activation_agrees(ops):
    y = layers.bias_act(ops.io["in.x"], ops.io["in.b"], activation="lrelu", gain=0.7, clamp=0.4)
    ops.check("bias_act.lrelu_gain0.7_clamp0.4", y)


@pytest.mark.parametrize(
    ("name", "options"),
    [("lin", {}), ("lrelu_lr001", {"activation": "lrelu", "lr_multiplier": 0.01}), ("nobias", {"bias": False})],
)
def test_fully_connected_agrees(ops, name, options):
    weight = ops.io[f"fc.{name}.weight"]
    layer = layers.FullyConnected(weight.shape[1], weight.shape[0], **options)
    state = {"weight": weight} | ({} if name == "nobias" else {"bias": ops.io[f"fc.{name}.bias"]})
    layer.load_state_dict(state)
    ops.check(f"fc.{name}.y", layer(ops.io[f"fc.{name}.x"]))


def test_plain_sums_agree_when_upsampled(ops):
    small = layers.modulated_sum(ops.io["in.xs"], ops.io["in.w1"], torch.ones(2, 3), torch.zeros(5))
    ops.check("conv_resample.1x1_up2", layers.upsample2(small, layers.binomial_filter()))


def test_modulated_convolutions_agree(ops):
    x, style, w3, w1 = (ops.io[f"in.{name}"] for name in ("xs", "styles", "w3", "w1"))
    fir = layers.binomial_filter()
    plain = layers.modulated_conv(x, w3, style) + ops.io["in.noise8"]
    ops.check("modconv.demod_fused", plain)
    ops.check("modconv.demod_unfused", plain)
    ops.check("modconv.demod_up2", layers.modulated_conv(x, w3, style, fir=fir) + ops.io["in.noise16"])
    ops.check("modconv.nodemod_1x1", layers.modulated_sum(x, w1, style, torch.zeros(5)))


def test_synthesis_layer_agrees(ops):
    prefix = "synlayer.state."
    state = {key.removeprefix(prefix): value for key, value in ops.io.items() if key.startswith(prefix)}
    layer = layers.SynthesisLayer(4, 6, w_dim=5, resolution=8, upsample=True, clamp=0.9)
    layer.load_state_dict(state)
    x, w = ops.io["synlayer.x"], ops.io["synlayer.w"]
    ops.check("synlayer.y_const", layer(x, w, noise="const"))
    ops.check("synlayer.y_none_gain0.5", layer(x, w, noise="none", gain=0.5))


@pytest.mark.parametrize("background", ["white0", "white1"])
def test_ray_marching_agrees(ops, background):
    depths, density = (ops.io[f"march.{name}"].squeeze(-1) for name in ("depths", "densities"))
    ops.check(f"march.{background}.weights", volume.segment_weights(depths, density)[..., None])
    features, depth, opacity = volume.composite(depths, density, ops.io["march.colors"])
    depth = depth.nan_to_num(torch.inf).clamp(depths.min(), depths.max())
    ops.check(f"march.{background}.depth", depth[..., None])
    rendering = volume.Rendering(features, depth, opacity)
    config = GeneratorConfig(render=RenderConfig(white_back=background == "white1"))
    ops.check(f"march.{background}.rgb", signed_features(rendering, config))


@pytest.mark.parametrize(
    ("name", "near", "far"), [("linear", 2.25, 3.3), ("disparity", 2.0, 3.4), ("tensor_limits", None, None)]
)
def test_stratified_depths_agree(ops, name, near, far):
    jitter = ops.io[f"stratified.{name}.u"].squeeze(-1)
    if near is None:
        limits = (ops.io[f"stratified.{name}.{end}"].squeeze(-1) for end in ("near", "far"))
    else:
        limits = (torch.full(jitter.shape[:2], end) for end in (near, far))
    depths = volume.coarse_depths(*limits, jitter.shape[2], jitter=jitter, disparity=name == "disparity")
    ops.check(f"stratified.{name}.depths", depths[..., None])


def test_importance_depths_agree(ops):
    depths, weights = ops.io["march.depths"].squeeze(-1), ops.io["march.white0.weights"].squeeze(-1)
    u = ops.io["importance.inject.u"].reshape(2, 5, -1)
    ops.check("importance.inject.depths", volume.fine_depths(depths, weights, u)[..., None])
    even = torch.linspace(0, 1, u.shape[-1]).expand_as(u)
    ops.check("importance.det.depths", volume.fine_depths(depths, weights, even)[..., None])


def test_cube_crossings_agree(ops):
    near, far, hits = rays.cross_cube(ops.io["box.o"], ops.io["box.d"], 1.0)
    ops.check("box.near", torch.where(hits, near, -1)[..., None])
    ops.check("box.far", torch.where(hits, far, -2)[..., None])


def test_camera_poses_agree(cameras):
    angles, pivots, radii = (cameras.io[f"lookat.{name}"].double().numpy() for name in ("hv", "pivot", "radius"))
    poses = [
        eg3d_camera.orbit_pose(*angle, pivot=pivot, radius=radius)
        for angle, pivot, radius in zip(angles, pivots, radii, strict=True)
    ]
    cameras.check("lookat.cam2world", torch.from_numpy(np.stack(poses)))
    centred = [
        eg3d_camera.orbit_pose(*angle, pivot=np.zeros(3), radius=radius)
        for angle, radius in zip(angles, radii, strict=True)
    ]
    cameras.check("gaussian_std0.cam2world", torch.from_numpy(np.stack(centred)))


def test_level_poses_agree(cameras):
    forwards, origins = (cameras.io[f"create.{name}"].double().numpy() for name in ("forward", "origin"))
    poses = [eg3d_camera.pose_looking(*pair) for pair in zip(forwards, origins, strict=True)]
    cameras.check("create.cam2world", torch.from_numpy(np.stack(poses)))


def test_lenses_agree(cameras):
    lenses = [eg3d_camera.fov_to_intrinsics(float(fov_deg)) for fov_deg in cameras.io["fov.deg"]]
    cameras.check("fov.intrinsics", torch.from_numpy(np.stack(lenses)))
