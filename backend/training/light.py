# SPDX-License-Identifier: Apache-2.0
"""Light for synthetic portraits: one key light, a coloured surrounding, and how skin, eyes and cloth answer."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

# How far light creeps past the shadow line in red, green and blue; skin scatters red furthest.
SCATTER = np.array([0.30, 0.16, 0.12])
FACE_LIGHT = 0.8  # Mean light on a white face that an exposure of 1 is meant for.
SHOULDER = 0.65  # Linear value above which highlights are compressed.


@dataclass(frozen=True)
class Light:
    """What shines on a portrait; colours are linear RGB, where 1 shows an albedo as it is.

    Args:
        direction: Unit vector towards the key light, world axes.
        key: Of the key light, on a surface that faces it.
        sky: Surrounding light from above.
        ground: Surrounding light from below.
        front: Surrounding light from +z, where the photographer stands.
        exposure: Multiplies the picture.
        softness: Radius of the key light's disc at unit distance; 0 gives hard shadows.
    """

    direction: Float[np.ndarray, "3"]
    key: Float[np.ndarray, "3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]
    front: Float[np.ndarray, "3"]
    exposure: float
    softness: float


def direction_from_angles(azimuth_deg: float, elevation_deg: float) -> Float[np.ndarray, "3"]:
    """Unit vector; azimuth 0 is +z, positive towards +x, elevation is above the horizon."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    return np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])


def studio_light() -> Light:
    """A plain soft portrait light from the upper left of the picture, the same every time."""
    return Light(
        direction=direction_from_angles(-35.0, 35.0),
        key=np.full(3, 0.62),
        sky=np.full(3, 0.42),
        ground=np.full(3, 0.20),
        front=np.full(3, 0.24),
        exposure=1.0,
        softness=0.18,
    )


def sample_light(rng: np.random.Generator) -> Light:
    """A random portrait light: window, sky or room, from flat to strongly sided, exposed for the face."""
    share = rng.beta(2.0, 2.2)  # Of the key light in the whole.
    warmth = rng.normal(0.0, 0.06)
    key_tint = np.array([1 + warmth, 1.0, 1 - warmth])
    coolness = rng.normal(0.0, 0.05) - 0.4 * warmth
    surround_tint = np.array([1 + coolness, 1.0, 1 - coolness])
    ground_tint = surround_tint * (1 + rng.normal(0.0, 0.05, 3))
    surround = 1.15 - share
    light = Light(
        direction=direction_from_angles(float(np.clip(rng.normal(0, 45), -85, 85)), float(rng.uniform(2, 60))),
        key=(0.15 + 1.1 * share) * key_tint,
        sky=0.55 * surround * surround_tint,
        ground=rng.uniform(0.15, 0.5) * surround * ground_tint,
        front=rng.uniform(0.1, 0.45) * surround * surround_tint,
        exposure=1.0,
        softness=float(rng.uniform(0.02, 0.3)),
    )
    return replace(light, exposure=float(np.exp(rng.normal(0.0, 0.15)) * FACE_LIGHT / _light_on_face(light)))


def _light_on_face(light: Light) -> float:
    """Mean light on a white face that looks along +z."""
    normals = np.array(
        [direction_from_angles(azimuth, elevation) for azimuth in (-60, 0, 60) for elevation in (-30, 30)]
    )
    one = np.ones(len(normals))
    white, ahead = np.ones((len(normals), 3)), np.tile([0.0, 0.0, 1.0], (len(normals), 1))
    return float(shade(white, normals, ahead, light, lit=one, openness=one, shine=0 * one).mean())


def linear_from_srgb(color: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(color: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light in [0, 1] to sRGB (IEC 61966-2-1)."""
    return np.where(color <= 0.0031308, 12.92 * color, 1.055 * np.maximum(color, 0.0031308) ** (1 / 2.4) - 0.055)


def tone_map(color: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Unlimited linear light to [0, 1): straight up to ``SHOULDER``, then a smooth film-like shoulder."""
    room = 1 - SHOULDER
    above = np.maximum(color - SHOULDER, 0.0)
    return np.minimum(color, SHOULDER) + room * above / (above + room)


def shade(
    albedo: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    to_camera: Float[np.ndarray, "n 3"],
    light: Light,
    *,
    lit: Float[np.ndarray, "n"],
    openness: Float[np.ndarray, "n"],
    shine: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n 3"]:
    """Light that leaves a surface towards the camera, linear RGB before exposure.

    Args:
        albedo: Linear RGB.
        normals: Unit vectors.
        to_camera: Unit vectors.
        light: The portrait's light.
        lit: Share of the key light that is not in shadow.
        openness: Share of the surrounding that the surface sees.
        shine: 0 is dull cloth, about 0.3 skin, 1 a wet eye.
    """
    facing = normals @ light.direction
    # Light creeps only as far as the shadow allows, so occluded surfaces stay dark.
    diffuse = np.maximum(facing[:, None] + SCATTER, 0.0) / (1 + SCATTER) * lit[:, None]
    up = 0.5 + 0.5 * normals[:, 1:2]
    surround = light.ground + (light.sky - light.ground) * up + light.front * np.maximum(normals[:, 2:3], 0.0)
    seen = openness[:, None]
    # Light bounces between bright walls of a crease: bright albedos darken less (Jimenez et al. 2016, section 5).
    bounced = seen / (1 - albedo * (1 - seen) * 0.9)
    color = albedo * (light.key * diffuse + surround * bounced)
    return (
        color
        + _highlight(normals, to_camera, light, facing, lit=lit, shine=shine)
        + 0.015 * shine[:, None] * (surround * seen * _edge_gain(normals, to_camera))
    )


def _edge_gain(normals: Float[np.ndarray, "n 3"], to_camera: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 1"]:
    """Growth of reflections towards grazing views (Schlick 1994), 1 when seen head-on."""
    across = 1 - np.abs(np.einsum("nc,nc->n", normals, to_camera))
    return (1 + 8 * across**5)[:, None]


def _highlight(
    normals: Float[np.ndarray, "n 3"],
    to_camera: Float[np.ndarray, "n 3"],
    light: Light,
    facing: Float[np.ndarray, "n"],
    *,
    lit: Float[np.ndarray, "n"],
    shine: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n 3"]:
    """Normalised Blinn-Phong reflection of the key light; shinier is also sharper."""
    half = to_camera + light.direction
    half /= np.linalg.norm(half, axis=1, keepdims=True).clip(1e-9)
    cosine = np.einsum("nc,nc->n", normals, half).clip(0, 1)
    power = 8 + 240 * shine**2
    strength = 0.03 * (power + 8) / 8 * cosine**power * np.clip(facing * 4, 0, 1) * lit * shine
    return strength[:, None] * light.key
