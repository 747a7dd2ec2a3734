# SPDX-License-Identifier: Apache-2.0
"""EG3D's frame in the plain way, as the papers write it: what `benchmarks/generator.py` compares the generator with.

Per-sample modulated weights in one grouped convolution, resampling with written zeros, planes looked up as they come,
all rays at once, every sample's features sorted along the ray.
"""

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from backend.generator import layers
from backend.generator.plane_generator import PlaneGenerator
from backend.generator.rays import camera_rays
from backend.generator.synthesis import SynthesisBlock
from backend.generator.volume import fine_depths


def plain_frame(
    generator: PlaneGenerator, ws: Tensor, cam2world: Tensor, intrinsics: Tensor, *, size_px: int = 128
) -> Tensor:
    """The final picture of style codes through a camera; for tri-planes and constant ray limits."""
    planes = _backbone(generator, ws).reshape(len(ws), 3, -1, *[generator.config.plane_resolution] * 2)
    features = _render(generator, planes, cam2world, intrinsics, size_px)
    image, x, rows = features[:, :3], features, ws[:, -1:].expand(-1, 3, -1)
    for block in (generator.superresolution.block0, generator.superresolution.block1):
        x, image = _block(block, x, image, rows, noise=False)
    return image


def _backbone(generator: PlaneGenerator, ws: Tensor) -> Tensor:
    first, *others = (cast(SynthesisBlock, block) for block in generator.backbone.synthesis.children())
    x, image = _block(first, None, None, ws[:, :2], noise=True)
    row = 1
    for block in others:
        x, image = _block(block, x, image, ws[:, row : row + 3], noise=True)
        row += block.num_convs
    return image


def _block(
    block: SynthesisBlock, x: Tensor | None, image: Tensor | None, ws: Tensor, *, noise: bool
) -> tuple[Tensor, Tensor]:
    if x is None:
        x = block.const.expand(len(ws), -1, -1, -1)
    else:
        x = _layer(block.conv0, x, ws[:, 0], noise=noise)
    x = _layer(block.conv1, x, ws[:, block.num_convs - 1], noise=noise)
    torgb = block.torgb
    style = torgb.affine(ws[:, block.num_convs]) / math.sqrt(torgb.weight.shape[1])
    weight = torgb.weight * style[:, None, :, None, None]
    increment = _clamped(_grouped(x, weight) + torgb.bias[:, None, None], torgb.clamp)
    if image is None:
        return x, increment
    return x, increment + layers.upfirdn(image, layers.binomial_filter(), up=2, pad=(2, 1, 2, 1), gain=4)


def _layer(layer: layers.SynthesisLayer, x: Tensor, w: Tensor, *, noise: bool) -> Tensor:
    weight = layer.weight * layer.affine(w)[:, None, :, None, None]
    weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = _grouped(x, weight, up=layer.upsample)
    if noise:
        x = x + layer.noise_const * layer.noise_strength
    x = functional.leaky_relu(x + layer.bias[:, None, None], 0.2) * math.sqrt(2)
    return _clamped(x, layer.clamp)


def _grouped(x: Tensor, weight: Tensor, *, up: bool = False) -> Tensor:
    b, outputs, inputs, size, _ = weight.shape
    x = x.reshape(1, b * inputs, *x.shape[2:])
    if not up:
        x = functional.conv2d(x, weight.reshape(b * outputs, inputs, size, size), padding=size // 2, groups=b)
        return x.reshape(b, outputs, *x.shape[2:])
    turned = weight.transpose(1, 2).reshape(b * inputs, outputs, size, size)
    x = functional.conv_transpose2d(x, turned, stride=2, groups=b)
    return layers.upfirdn(x.reshape(b, outputs, *x.shape[2:]), layers.binomial_filter(), pad=(1, 1, 1, 1), gain=4)


def _clamped(x: Tensor, clamp: float | None) -> Tensor:
    return x if clamp is None else x.clamp(-clamp, clamp)


def _render(generator: PlaneGenerator, planes: Tensor, cam2world: Tensor, intrinsics: Tensor, size_px: int) -> Tensor:
    render = generator.config.render
    if render.near is None or render.far is None:
        raise ValueError("The plain way is written for constant ray limits")
    origins, directions = camera_rays(cam2world, intrinsics, size_px)
    steps = torch.arange(render.coarse_samples) + 0.5
    width = (render.far - render.near) / (render.coarse_samples - 1)
    depths = (render.near + steps * width).expand(*origins.shape[:2], -1)
    density, features = _field(generator, planes, origins, directions, depths)
    fine = fine_depths(depths, _weights(depths, density), torch.linspace(0, 1, render.fine_samples).expand_as(depths))
    fine_density, fine_features = _field(generator, planes, origins, directions, fine)
    depths, order = torch.cat([depths, fine], -1).sort(-1)
    density = torch.cat([density, fine_density], -1).gather(-1, order)
    features = torch.cat([features, fine_features], -2)
    features = features.gather(-2, order[..., None].expand_as(features))
    middle = (features[:, :, 1:] + features[:, :, :-1]) / 2
    image = 2 * (_weights(depths, density)[..., None] * middle).sum(2) - 1
    return image.transpose(1, 2).reshape(len(image), -1, size_px, size_px)


def _weights(depths: Tensor, density: Tensor) -> Tensor:
    middle = functional.softplus((density[..., 1:] + density[..., :-1]) / 2 - 1)
    alpha = 1 - torch.exp(-middle * depths.diff(dim=-1))
    kept = torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1).cumprod(-1)
    return alpha * kept[..., :-1]


def _field(
    generator: PlaneGenerator, planes: Tensor, origins: Tensor, directions: Tensor, depths: Tensor
) -> tuple[Tensor, Tensor]:
    points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).flatten(1, 2)
    points = points * (2 / generator.config.side)
    grid = torch.stack([points[..., [0, 1]], points[..., [0, 2]], points[..., [2, 0]]], dim=1).flatten(0, 1)[:, None]
    found = functional.grid_sample(planes.flatten(0, 1), grid, mode="bilinear", align_corners=False)
    found = found.reshape(len(points), 3, planes.shape[2], -1).permute(0, 1, 3, 2).mean(1)
    density, features = generator.decoder(found)
    return density.reshape(depths.shape), features.reshape(*depths.shape, -1)
