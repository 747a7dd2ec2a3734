# SPDX-License-Identifier: Apache-2.0
"""What is behind a synthetic portrait: studio paper, a gradient, a room or a landscape out of focus, lights at night.

Everything is painted from a few random numbers; no photograph is used.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter, zoom

PAINT_PX = 96  # Backdrops are out of focus: nothing finer is painted.
SHARE = {"paper": 0.3, "gradient": 0.2, "room": 0.25, "outdoors": 0.15, "lights": 0.1}
Picture = Float[np.ndarray, "s s 3"]


def sample_backdrop(rng: np.random.Generator, size_px: int) -> UInt8[np.ndarray, "s s 3"]:
    """A random backdrop, sRGB; the same generator state gives the same one."""
    kinds: dict[str, Callable[[np.random.Generator], Picture]] = {
        "paper": _paper, "gradient": _gradient, "room": _room, "outdoors": _outdoors, "lights": _lights,
    }  # fmt: skip
    kind = str(rng.choice(list(SHARE), p=list(SHARE.values())))
    painted = kinds[kind](rng)
    scale = size_px / PAINT_PX
    large = zoom(painted, (scale, scale, 1), order=1, mode="nearest", grid_mode=True)
    grain = rng.normal(0, rng.uniform(0, 0.01), large.shape[:2])[..., None]
    return np.rint(np.clip(large + grain, 0, 1) * 255).astype(np.uint8)


def over_backdrop(rgba: UInt8[np.ndarray, "s s 4"], backdrop: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """A picture laid over a backdrop by its alpha."""
    alpha = rgba[..., 3:] / np.float32(255)
    return np.rint(rgba[..., :3] * alpha + backdrop * (1 - alpha)).astype(np.uint8)


def _color(rng: np.random.Generator, low: float, high: float, saturation: float) -> Float[np.ndarray, "3"]:
    return np.clip(rng.uniform(low, high) * (1 + rng.normal(0, saturation, 3)), 0.01, 0.99)


def _axes() -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
    """Right and down, from 0 to 1."""
    grid = (np.arange(PAINT_PX) + 0.5) / PAINT_PX
    right, down = np.meshgrid(grid, grid)
    return right, down


def _paper(rng: np.random.Generator) -> Picture:
    """One colour with the light falling off towards the edges."""
    right, down = _axes()
    centre = rng.uniform(0.2, 0.8, 2)
    away = np.hypot(right - centre[0], down - centre[1])[..., None]
    return _color(rng, 0.12, 0.97, 0.12) * (1 - rng.uniform(0, 0.45) * away**1.5)


def _gradient(rng: np.random.Generator) -> Picture:
    right, down = _axes()
    angle = rng.uniform(0, 2 * np.pi)
    along = np.clip(0.5 + (np.cos(angle) * (right - 0.5) + np.sin(angle) * (down - 0.5)), 0, 1)[..., None]
    return _color(rng, 0.1, 0.95, 0.2) * along + _color(rng, 0.1, 0.95, 0.2) * (1 - along)


def _room(rng: np.random.Generator) -> Picture:
    """A wall with window, pictures and furniture, out of focus."""
    picture = np.tile(_color(rng, 0.3, 0.85, 0.07), (PAINT_PX, PAINT_PX, 1))
    floor = int(PAINT_PX * rng.uniform(0.6, 1.1))
    picture[floor:] = _color(rng, 0.15, 0.6, 0.12)
    for _ in range(rng.integers(2, 9)):
        x, y = rng.integers(-10, PAINT_PX, 2)
        width, height = rng.integers(6, 45, 2)
        picture[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = _color(rng, 0.05, 0.9, 0.2)
    if rng.random() < 0.5:
        x, y = rng.integers(0, PAINT_PX - 20, 2)
        picture[y : y + rng.integers(20, 60), x : x + rng.integers(12, 40)] = rng.uniform(0.9, 1.1)
    right, _ = _axes()
    shade = 1 + rng.uniform(-0.3, 0.3) * (right[..., None] - 0.5)
    return _blurred(picture * shade, rng.uniform(1.0, 6.0))


def _outdoors(rng: np.random.Generator) -> Picture:
    """Sky above, leaves or walls below."""
    _, down = _axes()
    horizon = rng.uniform(0.1, 0.7)
    wave = gaussian_filter(rng.normal(size=PAINT_PX), 8, mode="wrap") * 0.4
    sky = np.array([0.62, 0.76, 0.92]) * rng.uniform(0.7, 1.08) + rng.normal(0, 0.03, 3)
    green = np.array([0.26, 0.36, 0.16]) * rng.uniform(0.5, 1.5)
    below = green if rng.random() < 0.65 else _color(rng, 0.2, 0.6, 0.08)
    is_sky = (down < horizon + wave[None])[..., None]
    leaves = gaussian_filter(rng.normal(size=(PAINT_PX, PAINT_PX)), 2.0)[..., None] * 1.2
    return _blurred(np.where(is_sky, sky, below * (1 + leaves)), rng.uniform(1.0, 5.0))


def _lights(rng: np.random.Generator) -> Picture:
    """Discs of light on dark, as a fast lens shows lamps far away."""
    right, down = _axes()
    picture = np.tile(_color(rng, 0.03, 0.18, 0.3), (PAINT_PX, PAINT_PX, 1))
    for _ in range(rng.integers(6, 26)):
        x, y = rng.uniform(0, 1, 2)
        inside = 1 / (1 + np.exp((np.hypot(right - x, down - y) - rng.uniform(0.015, 0.08)) / 0.006))
        lamp = np.clip(np.array([1.0, 0.8, 0.55]) + rng.normal(0, 0.2, 3), 0, 1) * rng.uniform(0.2, 0.9)
        picture = picture + inside[..., None] * lamp
    return picture


def _blurred(picture: Picture, sigma: float) -> Picture:
    return gaussian_filter(picture, (sigma, sigma, 0), mode="nearest")
