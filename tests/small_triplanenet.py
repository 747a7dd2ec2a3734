# SPDX-License-Identifier: Apache-2.0
"""An untrained TriPlaneNet on a generator, both small enough to be made in a test."""

import torch
from torch import Tensor

from backend.camera import look_at_camera
from backend.encoder.config import BodyConfig, PlaneEncoderConfig, StyleEncoderConfig, TriPlaneNetConfig
from backend.encoder.triplanenet import TriPlaneNet
from backend.generator.config import GeneratorConfig, RenderConfig, SuperResolutionConfig
from backend.generator.plane_generator import PlaneGenerator

WIDTHS = (16, 16, 16, 16)
GENERATOR = GeneratorConfig(
    z_dim=8,
    w_dim=16,
    channel_base=128,
    channel_max=8,
    plane_resolution=32,
    plane_channels=4,
    decoder_outputs=4,
    neural_resolution=8,
    render=RenderConfig(coarse_samples=4, fine_samples=4),
    superresolution=SuperResolutionConfig("8XDC", 8, (8, 8)),
)


def small_config(version: int) -> TriPlaneNetConfig:
    styles = StyleEncoderConfig(BodyConfig(3, 16, WIDTHS), w_dim=16, halvings=(1,) * 3 + (2,) * 4 + (3,))
    body = BodyConfig(6 if version == 1 else 9, 16, WIDTHS)
    return TriPlaneNetConfig(styles, PlaneEncoderConfig(body, (8, 8, 8, 8), planes=12, reads_planes=version == 2))


def small_triplanenet(version: int = 1) -> TriPlaneNet:
    torch.manual_seed(version)
    network = TriPlaneNet(small_config(version), PlaneGenerator(GENERATOR))
    network.latent_avg.normal_()
    return network.eval().requires_grad_(False)


def front_cameras() -> tuple[Tensor, Tensor]:
    camera = look_at_camera(yaw_deg=20, pitch_deg=5, distance=2.7, focal=4.2647)
    return torch.tensor(camera.cam2world).float()[None], torch.tensor(camera.intrinsics).float()[None]
