# SPDX-License-Identifier: Apache-2.0
"""Light for synthetic portraits: one key light, a coloured surrounding, and how skin, eyes and cloth answer."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

# How far light creeps past the shadow line in red, green and blue; skin scatters red furthest.
SCATTER = np.array([0.30, 0.16, 0.12], np.float32)
FACE_LIGHT = 0.8  # Mean light on a white face that an exposure of 1 is meant for.
FRONT_SOFTNESS, NARROWEST_LAMP = 0.9, 0.28
SHOULDER = 0.65  # Linear value above which highlights are compressed.


@dataclass(frozen=True)
class Lamp:
    """A soft box, a window, a bright wall, or a lamp behind the head.

    Args:
        direction: Unit vector towards it, world axes.
        color: Light on a surface that faces it, linear RGB.
        softness: Radius of its disc at unit distance.
    """

    direction: Float[np.ndarray, "3"]
    color: Float[np.ndarray, "3"]
    softness: float


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
        lamps: More lights; their shadows are soft.
    """

    direction: Float[np.ndarray, "3"]
    key: Float[np.ndarray, "3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]
    front: Float[np.ndarray, "3"]
    exposure: float
    softness: float
    lamps: tuple[Lamp, ...] = ()

    def to_vector(self) -> Float[np.ndarray, "15"]:
        """Key direction, exposed key and surrounding colours, softness, and how much the lamps add in all."""
        lamps = sum((lamp.color for lamp in self.lamps), np.zeros(3)).mean()
        colors = np.concatenate([self.key, self.sky, self.ground]) * self.exposure
        rest = [self.front.mean() * self.exposure, self.softness, lamps * self.exposure]
        return np.concatenate([self.direction, colors, rest]).astype(np.float32)


def surroundings(light: Light, directions: Float[np.ndarray, "d 3"]) -> Float[np.ndarray, "d 3"]:
    """What shines from each of many evenly spread directions, without the key light.

    The mean over directions, weighted by the cosine to a surface's normal, is the light on an open surface.
    """
    radiance = np.where(directions[:, 1:2] > 0, light.sky, light.ground)
    for lamp in (*light.lamps, Lamp(np.array([0.0, 0.0, 1.0]), light.front, FRONT_SOFTNESS)):
        cosine = directions @ lamp.direction
        # Not narrower than the directions are apart.
        lobe = np.exp((cosine - 1) / max(lamp.softness, NARROWEST_LAMP) ** 2)
        facing = np.maximum(cosine, 0.0)
        radiance = radiance + np.outer(lobe * facing.sum() / (lobe * facing).sum(), lamp.color)
    return radiance


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
    """A random portrait light, exposed for the face: studio, window, sky, sun or lamps in a room."""
    share = rng.beta(2.0, 2.2)  # Of the key light in the whole.
    warmth = rng.normal(0.0, 0.06)
    coolness = rng.normal(0.0, 0.05) - 0.4 * warmth
    surround = 1.15 - share
    light = Light(
        direction=direction_from_angles(float(np.clip(rng.normal(0, 45), -85, 85)), float(rng.uniform(2, 60))),
        key=(0.15 + 1.1 * share) * _tint(warmth),
        sky=0.55 * surround * _tint(coolness),
        ground=rng.uniform(0.15, 0.5) * surround * _tint(coolness) * (1 + rng.normal(0.0, 0.05, 3)),
        front=rng.uniform(0.1, 0.45) * surround * _tint(coolness),
        exposure=1.0,
        softness=float(rng.uniform(0.02, 0.3)),
        lamps=tuple(_sample_lamp(rng, surround) for _ in range(rng.integers(0, 4))),
    )
    return replace(light, exposure=float(np.exp(rng.normal(0.0, 0.15)) * FACE_LIGHT / _light_on_face(light)))


def _tint(warmth: float) -> Float[np.ndarray, "3"]:
    return np.array([1 + warmth, 1.0, 1 - warmth])


def _sample_lamp(rng: np.random.Generator, surround: float) -> Lamp:
    """A fill, a window, or a rim light from behind; now and then strongly coloured."""
    azimuth = float(rng.uniform(-180, 180))
    is_behind = abs(azimuth) > 100
    color = rng.uniform(0.1, 1.2 if is_behind else 0.6) * surround * _tint(float(rng.normal(0, 0.12)))
    if rng.random() < 0.15:
        color = color * np.clip(rng.normal(1.0, 0.3, 3), 0.3, 1.6)
    return Lamp(direction_from_angles(azimuth, float(rng.uniform(-20, 60))), color, float(rng.uniform(0.25, 0.8)))


def _light_on_face(light: Light) -> float:
    """Mean light on a white face that looks along +z."""
    normals = np.array(
        [direction_from_angles(azimuth, elevation) for azimuth in (-60, 0, 60) for elevation in (-30, 30)]
    )
    directions = sphere_directions(64)
    cosine = np.maximum(normals @ directions.T, 0)
    surround = cosine @ surroundings(light, directions) / cosine.sum(1, keepdims=True)
    return float((surround + light.key * key_share(normals @ light.direction, np.ones(len(normals)))).mean())


def sphere_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """Unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    polar = np.arccos(1 - 2 * index / count)
    azimuth = np.pi * (1 + 5**0.5) * index
    return np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], axis=1)


def linear_from_srgb(color: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


_LINEAR_OF_BYTES = linear_from_srgb(np.arange(256) / 255.0)


def linear_from_bytes(color: UInt8[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """sRGB bytes to linear light in [0, 1]."""
    return _LINEAR_OF_BYTES.take(color)


def srgb_from_linear(color: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light in [0, 1] to sRGB (IEC 61966-2-1)."""
    return np.where(color <= 0.0031308, 12.92 * color, 1.055 * np.maximum(color, 0.0031308) ** (1 / 2.4) - 0.055)


def tone_map(color: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Unlimited linear light to [0, 1): straight up to ``SHOULDER``, then a smooth film-like shoulder."""
    room = 1 - SHOULDER
    above = np.maximum(color - SHOULDER, 0.0)
    return np.minimum(color, SHOULDER) + room * above / (above + room)


def key_share(facing: Float[np.ndarray, "n"], lit: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3"]:
    """Share of the key light that skin takes, red light a little past the shadow line.

    Args:
        facing: Cosine between normal and light.
        lit: Share of the light that is not in shadow; light creeps only as far as the shadow allows.
    """
    return np.maximum(facing[:, None] + SCATTER, 0.0) * (lit[:, None] / (1 + SCATTER))


def bounce(
    albedo: Float[np.ndarray, "n 3"], surround: Float[np.ndarray, "n 3"], openness: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """Surrounding light with what the walls of a crease pass on to each other: bright albedos darken less.

    Source:
        Jimenez et al. 2016, Practical real-time strategies for accurate indirect occlusion, section 5.
    """
    return surround / (1 - albedo * (0.9 * (1 - openness[:, None])))


def skin_highlight(
    normals: Float[np.ndarray, "n 3"],
    to_camera: Float[np.ndarray, "n 3"],
    direction: Float[np.ndarray, "3"],
    shine: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    """Normalised Blinn-Phong reflection of a light of strength 1, with Schlick's growth at grazing angles.

    Args:
        normals: Unit vectors.
        to_camera: Unit vectors.
        direction: Unit vector towards the light.
        shine: 0 is dull, about 0.3 skin, 1 a wet eye; shinier is also sharper.
    """
    half = to_camera + direction
    half /= np.sqrt(np.einsum("nc,nc->n", half, half)).clip(1e-6)[:, None]
    cosine = np.clip(np.einsum("nc,nc->n", normals, half), 0, 1)
    grazing = 1 - np.clip(np.einsum("nc,nc->n", half, to_camera), 0, 1)
    power = 8 + 240 * shine**2
    facing = np.clip((normals @ direction) * 4, 0, 1)
    return 0.03 * (power + 8) / 8 * cosine**power * facing * shine * (1 + 6 * grazing**5)


def strand_highlight(
    strand: Float[np.ndarray, "n 3"],
    to_camera: Float[np.ndarray, "n 3"],
    direction: Float[np.ndarray, "3"],
    shift: Float[np.ndarray, "n"],
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Hair's two reflections of a light of strength 1: a white one, and a wider one in the hair's own colour.

    Args:
        strand: Unit vectors along the hair, towards its end.
        to_camera: Unit vectors.
        direction: Unit vector towards the light.
        shift: How far single strands lean off their flow, radians.

    Source:
        Scheuermann 2004, Practical real-time hair rendering and shading, after Kajiya and Kay 1989 and Marschner
        et al. 2003: the cone of mirror directions around a strand, shifted to the root and to the tip.
    """
    half = to_camera + direction
    half /= np.sqrt(np.einsum("nc,nc->n", half, half)).clip(1e-6)[:, None]
    along = np.einsum("nc,nc->n", strand, half)
    first = np.exp(-0.5 * ((along + 0.07 + shift) / 0.10) ** 2)
    second = np.exp(-0.5 * ((along - 0.12 + shift) / 0.20) ** 2)
    return first, second
