# SPDX-License-Identifier: Apache-2.0
"""Finds which template point each face-mesh landmark is, by detecting landmarks on portraits with known geometry."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from backend.camera import Camera, rays
from backend.landmarks import detect_faces
from backend.template import Template
from backend.training.appearance import sample_appearance
from backend.training.dataset import BALD, Dressing, sample_dressing
from backend.training.heads import HeadShapes
from backend.training.light import sample_light
from backend.training.portraits import PortraitScene, PortraitStudio, portrait_camera
from backend.training.render import render_portrait

PORTRAIT_PX = 320
YAW_DEG, PITCH_DEG = 32.0, 12.0
LEAST_SIGHTINGS = 8


def calibrate_landmarks(
    heads: HeadShapes, studio: PortraitStudio, *, portraits: int, rng: np.random.Generator, log: Callable[[str], None]
) -> Template:
    """The studio's template with its landmark embedding.

    Each landmark is carried from its pixel to the surface seen there and on to canonical space; the median over many
    people and poses is projected onto the template.
    """
    sightings: list[Float[np.ndarray, "478 3"]] = []
    for number in range(portraits):
        found = _one_portrait(heads, studio, rng)
        if found is not None:
            sightings.append(found)
        if (number + 1) % 25 == 0:
            log(f"{len(sightings)} of {number + 1} portraits gave landmarks")
    seen = np.stack(sightings)
    is_rare = np.isfinite(seen[..., 0]).sum(0) < LEAST_SIGHTINGS
    seen[:, is_rare] = 0
    place = np.nanmedian(seen, axis=0)
    spread = 1.4826 * np.nanmedian(np.linalg.norm(seen - place, axis=-1), axis=0) / np.sqrt(3)
    template = studio.template
    face, weights, _ = template.closest(place)
    noise = np.where(is_rare, 1.0, spread)
    return replace(template, landmark_faces=face, landmark_weights=weights, landmark_noise=noise)


def _one_portrait(
    heads: HeadShapes, studio: PortraitStudio, rng: np.random.Generator
) -> Float[np.ndarray, "478 3"] | None:
    """Canonical places of the landmarks of one random portrait; NaN where they miss the face."""
    identity = heads.sample(rng)
    appearance = sample_appearance(rng, identity.gender, identity.age, ancestry=identity.ancestry)
    dressing = sample_dressing(rng, identity.gender)
    if rng.random() < 0.3:
        dressing = Dressing(BALD, 0.0, dressing.fringe_m, dressing.bottom_m, dressing.top)
    scene = studio.scene(heads.build(identity), appearance, dressing)
    camera = portrait_camera(
        yaw_deg=float(rng.uniform(-YAW_DEG, YAW_DEG)), pitch_deg=float(rng.uniform(-PITCH_DEG, PITCH_DEG))
    )
    picture = render_portrait(scene.subject, camera, sample_light(rng), size_px=PORTRAIT_PX, supersample=1)
    alpha = picture.rgba[..., 3:] / 255.0
    background = rng.uniform(60, 220, 3)
    pixels = (picture.rgba[..., :3] * alpha + background * (1 - alpha)).astype(np.uint8)
    faces = detect_faces(pixels)
    if not faces:
        return None
    return canonical_places(scene, camera, faces[0].landmarks / PORTRAIT_PX)


def canonical_places(scene: PortraitScene, camera: Camera, image: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Canonical positions of what is seen at places in the image (image widths); NaN where nothing is."""
    origin, _ = rays(camera, 1)
    pixels = np.concatenate([image, np.ones((len(image), 1))], axis=1)
    directions = pixels @ np.linalg.inv(camera.intrinsics).T @ camera.cam2world[:3, :3].T
    triangle, barycentric, _ = scene.subject.caster.first_hit(origin[None], directions)
    corners = scene.subject.faces[triangle]
    places = (scene.canonical[corners] * barycentric[..., None]).sum(1)
    places[triangle < 0] = np.nan
    return places
