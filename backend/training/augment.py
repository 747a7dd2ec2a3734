# SPDX-License-Identifier: Apache-2.0
"""What cameras, networks and fingers do to photos, for training an encoder: each effect is a function of its own."""

from io import BytesIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from backend.training.light import linear_from_bytes, srgb_from_linear

Photo = UInt8[np.ndarray, "s s 3"]


def color_cast(photo: Photo, gains: Float[np.ndarray, "3"], exposure_stops: float = 0.0) -> Photo:
    """Wrong white balance and exposure, applied to linear light.

    Args:
        photo: sRGB.
        gains: Of red, green and blue.
        exposure_stops: Doubles the light with each.
    """
    linear = linear_from_bytes(photo) * gains * 2.0**exposure_stops
    return _bytes(srgb_from_linear(np.clip(linear, 0, 1)))


def contrast(photo: Photo, gain: float, saturation: float) -> Photo:
    """Contrast around the middle grey and strength of colours; 1 and 1 change nothing."""
    values = 0.5 + gain * (photo / 255.0 - 0.5)
    grey = values @ [0.2126, 0.7152, 0.0722]
    return _bytes(grey[..., None] + saturation * (values - grey[..., None]))


def blur(photo: Photo, sigma_px: float) -> Photo:
    """Out of focus."""
    return _bytes(gaussian_filter(photo / 255.0, (sigma_px, sigma_px, 0), mode="nearest"))


def low_resolution(photo: Photo, side_px: int) -> Photo:
    """A small picture made large again."""
    side = len(photo)
    image = Image.fromarray(photo).resize((side_px, side_px), Image.Resampling.BOX)
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC))


def sensor_noise(photo: Photo, rng: np.random.Generator, *, shot: float, read: float) -> Photo:
    """Noise that grows with the light (``shot``) and that is there in the dark too (``read``), of linear light."""
    linear = linear_from_bytes(photo)
    noisy = linear + rng.normal(size=photo.shape) * np.sqrt(shot**2 * linear + read**2)
    return _bytes(srgb_from_linear(np.clip(noisy, 0, 1)))


def jpeg(photo: Photo, quality: int) -> Photo:
    """Through a JPEG file; quality 1 to 95."""
    stream = BytesIO()
    Image.fromarray(photo).save(stream, "jpeg", quality=quality)
    return np.array(Image.open(BytesIO(stream.getvalue())))


def occlude(photo: Photo, rng: np.random.Generator, share: float) -> Photo:
    """A hand, a phone or a scarf: a soft-edged patch of one colour over about ``share`` of the picture."""
    side = len(photo)
    grid = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(grid, grid)
    centre, turn = rng.uniform(0.15, 0.85, 2), rng.uniform(0, np.pi)
    aspect = np.exp(rng.normal(0, 0.4))
    u = (np.cos(turn) * (x - centre[0]) + np.sin(turn) * (y - centre[1])) * aspect
    v = (np.cos(turn) * (y - centre[1]) - np.sin(turn) * (x - centre[0])) / aspect
    power = rng.choice([2.0, 6.0])
    radius = np.sqrt(share / np.pi)
    inside = np.clip((1.0 - (np.abs(u / radius) ** power + np.abs(v / radius) ** power) ** (1 / power)) * 20, 0, 1)
    color = rng.uniform(20, 235) * np.clip(rng.normal(1.0, 0.15, 3), 0.5, 1.3)
    covered = photo * (1 - inside[..., None]) + np.clip(color, 0, 255) * inside[..., None]
    return np.rint(covered).astype(np.uint8)


def degrade(photo: Photo, rng: np.random.Generator) -> Photo:
    """A random chain of the effects above in the order in which they happen to photos; some stay nearly clean."""
    if rng.random() < 0.15:
        photo = occlude(photo, rng, float(rng.uniform(0.01, 0.12)))
    if rng.random() < 0.25:
        photo = blur(photo, float(rng.uniform(0.3, 1.6)) * len(photo) / 128)
    if rng.random() < 0.8:
        photo = color_cast(photo, np.exp(rng.normal(0, 0.08, 3)), float(rng.normal(0, 0.25)))
    if rng.random() < 0.5:
        photo = sensor_noise(photo, rng, shot=float(rng.uniform(0, 0.04)), read=float(rng.uniform(0, 0.012)))
    if rng.random() < 0.5:
        photo = contrast(photo, float(rng.uniform(0.8, 1.2)), float(rng.uniform(0.0, 1.3)))
    if rng.random() < 0.2:
        photo = low_resolution(photo, round(len(photo) * float(rng.uniform(0.3, 0.8))))
    if rng.random() < 0.5:
        photo = jpeg(photo, int(rng.integers(25, 95)))
    return photo


def _bytes(values: Float[np.ndarray, "s s 3"]) -> Photo:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
