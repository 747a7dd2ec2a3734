# SPDX-License-Identifier: Apache-2.0
"""The rays of a small photo around the small starter's plain head."""

from dataclasses import replace

import numpy as np
import torch

from backend.camera import Camera
from backend.config import SurfaceConfig
from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.inversion.view import PhotoRays, Target, photo_rays, render_rays
from backend.surface import extract_surface
from backend.template import Deformation
from tests.small_starter import SIDE, small_template

RAYS_PX = 32


def small_view(generator: StarterGenerator, camera: Camera, *, matte: float = 0.0) -> PhotoRays:
    """Rays of a black photo whose matte is the same everywhere."""
    template = small_template(subdivisions=3)
    config = SurfaceConfig(resolution=49, faces=3000, smoothing_steps=2)
    blank = torch.zeros((1, 3, 2 * RAYS_PX, 2 * RAYS_PX))
    return photo_rays(
        generator,
        Deformation(template, np.zeros_like(template.vertices), SIDE),
        extract_surface(generator.field(generator.map(torch.zeros((1, 5)))), config),
        camera,
        image=blank,
        mask=blank[:, :1] + matte,
        coverage=torch.ones_like(blank[:, :1]),
        chin=1.0,
        size_px=RAYS_PX,
    )


def showing(view: PhotoRays, generator: StarterGenerator, head: HeadPlanes) -> PhotoRays:
    """The view with a head's own picture as the photo."""
    with torch.no_grad():
        color, opacity, _ = render_rays(generator, head, view)
    ones = torch.ones_like(opacity)
    return replace(view, target=Target(color, (opacity > 0.5).float(), ones, ones))
