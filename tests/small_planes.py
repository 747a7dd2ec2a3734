# SPDX-License-Identifier: Apache-2.0
"""A plane generator small enough for tests of inversion methods, and portraits that it can show."""

import torch

from backend.camera import look_at_camera
from backend.generator.config import GeneratorConfig, RenderConfig, SuperResolutionConfig
from backend.generator.plane_generator import PlaneGenerator
from backend.inversion.cameras import Cameras, cameras_of
from backend.inversion.method import PosedPortrait
from backend.inversion.plane_model import PlaneModel

DISTANCE, FOCAL = 2.7, 4.2647


def small_model(**changes) -> PlaneModel:
    """Untrained, 32-pixel pictures from 16-pixel renderings."""
    torch.manual_seed(11)
    sizes = {
        "z_dim": 8,
        "w_dim": 8,
        "channel_base": 128,
        "channel_max": 8,
        "plane_resolution": 16,
        "plane_channels": 4,
        "decoder_hidden": 8,
        "decoder_outputs": 5,
        "neural_resolution": 16,
        "render": RenderConfig(coarse_samples=8, fine_samples=8),
        "superresolution": SuperResolutionConfig("4X", 16, (6, 6)),
    }
    return PlaneModel(PlaneGenerator(GeneratorConfig(**(sizes | changes))).eval().requires_grad_(False))


def camera_at(yaw_deg: float, pitch_deg: float = 0.0) -> Cameras:
    """One camera that looks at the origin as EG3D's do."""
    return cameras_of(look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=DISTANCE, focal=FOCAL))


def portrait_of(model: PlaneModel, yaw_deg: float = 0.0, seed: int = 3) -> PosedPortrait:
    """A random head of the model itself, believed everywhere."""
    random = torch.Generator().manual_seed(seed)
    ws = model.mean_ws + model.ws_std * torch.randn(model.mean_ws.shape, generator=random)
    with torch.no_grad():
        image = model.head(ws).render(camera_at(yaw_deg), size_px=model.size_px).image
    ones = torch.ones_like(image[:, :1])
    return PosedPortrait(image, ones, ones, camera_at(yaw_deg))
