# SPDX-License-Identifier: Apache-2.0
"""From a sample of the starter to what its encoder sees: the picture lit and degraded as photos are, with its matte."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn import functional

from backend.camera import Camera, rays
from backend.training.augment import degrade
from backend.training.e3dge_samples import Sample
from backend.training.encoder_examples import disturbed_matte
from backend.training.light import (
    Light,
    key_share,
    linear_from_bytes,
    sample_light,
    sphere_directions,
    srgb_from_linear,
    surroundings,
    tone_map,
)

DIRECTIONS = 32  # From which surrounding light is gathered.
UNLIT_SHARE = 0.15  # Pictures that show the generator's colours as they are.
UNLIT = Light(np.array([0.0, 0.0, 1.0]), np.zeros(3), np.ones(3), np.ones(3), np.zeros(3), 1.0, 0.3)


def example(sample: Sample, view: int, rng: np.random.Generator, *, size_px: int) -> dict[str, np.ndarray]:
    """One view of a head as the encoder gets it, and what it should say.

    Args:
        sample: From ``e3dge_samples.make_samples``.
        view: Of its views.
        rng: Of light and degradation.
        size_px: Side of the encoder's picture.

    Returns:
        What ``encoder_losses.code_losses`` compares, ``picture``, and ``photo``, the picture at the sample's side
        without the matte.
    """
    light = UNLIT if rng.random() < UNLIT_SHARE else sample_light(rng)
    photo = degrade(lit(sample, view, light), rng)
    matte = disturbed_matte(np.isfinite(sample["depth"][view]).astype(np.float32), rng)
    exact = sample["exact_landmarks"][view]
    return {
        **{name: sample[name] for name in ("z", "shape", "expression")},
        "pose": np.zeros(6, np.float32),  # Samples stand at rest.
        "light": light.to_vector(),
        "camera": sample["camera"][view],
        "picture": masked_picture(photo, matte, size_px),
        "landmarks": sample["landmarks"][view],
        "exact_landmarks": exact,
        "seen": sample["seen"][view],
        "photo": photo,
    }


def masked_picture(
    photo: UInt8[np.ndarray, "s s 3"], matte: Float[np.ndarray, "s s"], size_px: int
) -> Float[np.ndarray, "4 p p"]:
    """Colours in [-1, 1] times the matte, with the matte; see ``starter_encoder.encoder_input``."""
    color = torch.from_numpy(photo).permute(2, 0, 1) / 127.5 - 1
    known = torch.from_numpy(matte)[None]
    whole = torch.cat([color * known, known])[None]
    resized = functional.interpolate(whole, size=(size_px, size_px), mode="bilinear", antialias=True)
    return resized[0].numpy()


def lit(sample: Sample, view: int, light: Light) -> UInt8[np.ndarray, "s s 3"]:
    """A view under a light that casts no shadows."""
    color, normals = sample["color"][view], view_normals(sample, view)
    directions = sphere_directions(DIRECTIONS)
    cosine = np.maximum(normals @ directions.T, 0)
    surround = cosine @ surroundings(light, directions) / cosine.sum(-1, keepdims=True)
    facing = (normals @ light.direction).reshape(-1)
    shine = light.key * key_share(facing, np.ones(len(facing))).reshape(normals.shape)
    shown = tone_map(linear_from_bytes(color) * (surround + shine) * light.exposure)
    return np.rint(srgb_from_linear(shown) * 255).astype(np.uint8)


def view_camera(sample: Sample, view: int) -> Camera:
    """Where a view was taken from."""
    return Camera(sample["cam2world"][view], sample["intrinsics"][view])


def view_points(sample: Sample, view: int) -> Float[np.ndarray, "s s 3"]:
    """What each pixel shows, in the head's frame, metres; not finite where it shows no head."""
    depth = sample["depth"][view]
    origin, directions = rays(view_camera(sample, view), len(depth))
    points: Float[np.ndarray, "s s 3"] = origin + depth[..., None] * directions
    return points


def view_normals(sample: Sample, view: int) -> Float[np.ndarray, "s s 3"]:
    """Unit normals of what a view shows, from its depths; towards the camera where they cannot be told."""
    points = view_points(sample, view)
    _, directions = rays(view_camera(sample, view), len(points))
    with np.errstate(invalid="ignore"):
        normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        normals = normals / length
        normals *= -np.sign((normals * directions).sum(-1, keepdims=True))
    return np.where(np.isfinite(normals).all(-1, keepdims=True), normals, -directions)
