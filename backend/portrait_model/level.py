# SPDX-License-Identifier: Apache-2.0
"""At which density a volume without a defined surface is meshed: where it looks solid, not at a constant.

Source:
    METHODS.md section 5.3, remedy 1: the level whose surface lies nearest to the median depth of the rendering.
"""

import math

import numpy as np
from jaxtyping import Float

from backend.camera import Camera, rays
from backend.lattice import Evaluate

RAYS_PX = 16  # Along an edge of each picture.
SAMPLES = 320  # Through the cube.
SOLID = 0.9  # Opacity from which a ray has met the head.
FEWEST_RAYS = 32
LEVELS: Float[np.ndarray, "k"] = np.geomspace(1.0, 300.0, 48)  # Per cube side and unit of optical depth.
FAR = 0.1  # Cube sides after which a surface is as wrong as it can be.


def solid_level(density: Evaluate, cameras: list[Camera], *, side: float, fallback: float) -> float:
    """The density whose first crossing along rays lies where half of the light is gone.

    Args:
        density: Per unit, of points in canonical space.
        cameras: Look at the cube's middle.
        side: Of the cube, canonical units.
        fallback: For a volume that is nowhere solid.
    """
    distance, sampled = _along_rays(density, cameras, side)
    step = distance[:, 1:] - distance[:, :-1]
    absorbed = np.cumsum((sampled[:, 1:] + sampled[:, :-1]) / 2 * step, axis=1)
    is_solid = 1 - np.exp(-absorbed[:, -1]) > SOLID
    if np.count_nonzero(is_solid) < FEWEST_RAYS:
        return fallback
    distance, sampled, absorbed = distance[is_solid], sampled[is_solid], absorbed[is_solid]
    half = _first_crossing(distance[:, 1:], absorbed, math.log(2))
    misses = [
        np.median(np.minimum(np.abs(_first_crossing(distance, sampled, level) - half), FAR * side))
        for level in LEVELS / side
    ]
    return float(LEVELS[int(np.argmin(misses))] / side)


def _along_rays(
    density: Evaluate, cameras: list[Camera], side: float
) -> tuple[Float[np.ndarray, "n s"], Float[np.ndarray, "n s"]]:
    """Distances and densities along each ray from where it may enter the cube's ball; 0 outside the cube."""
    points, distances = [], []
    for camera in cameras:
        origin, directions = rays(camera, RAYS_PX)
        reach, middle = 0.5 * math.sqrt(3) * side, float(np.linalg.norm(origin))
        distance = np.linspace(middle - reach, middle + reach, SAMPLES)
        points.append(origin + distance[:, None] * directions.reshape(-1, 1, 3))
        distances.append(np.broadcast_to(distance, (RAYS_PX**2, SAMPLES)))
    place = np.concatenate(points)
    is_inside = (np.abs(place) < side / 2).all(-1)
    sampled = np.zeros(place.shape[:2])
    sampled[is_inside] = density(place[is_inside].astype(np.float32))
    return np.concatenate(distances), sampled


def _first_crossing(
    distance: Float[np.ndarray, "n s"], values: Float[np.ndarray, "n s"], level: float
) -> Float[np.ndarray, "n"]:
    """Where each row first rises over the level, between its samples; infinite where it never does."""
    is_over = values >= level
    index = is_over.argmax(axis=1)
    rows = np.arange(len(values))
    before = np.maximum(index - 1, 0)
    low, high = values[rows, before], values[rows, index]
    share = np.clip((level - low) / np.maximum(high - low, 1e-12), 0, 1)
    crossing = distance[rows, before] + share * (distance[rows, index] - distance[rows, before])
    return np.where(is_over.any(axis=1), crossing, np.inf)
