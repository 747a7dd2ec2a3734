# SPDX-License-Identifier: Apache-2.0
"""Finds which template point each face-mesh landmark is, by detecting landmarks on portraits with known geometry."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from backend.camera import Camera, project, rays
from backend.inversion.parametric import IRIS_LANDMARKS, Lens, fit_template
from backend.landmarks import detect_faces
from backend.template import Template
from backend.training.appearance import sample_appearance
from backend.training.dressing import BALD, sample_dressing
from backend.training.heads import INTEROCULAR_DM, HeadShapes
from backend.training.light import sample_light
from backend.training.makehuman import METRES_PER_DM
from backend.training.portraits import PortraitScene, PortraitStudio, portrait_camera
from backend.training.render import render_portrait
from backend.training.template import TemplateAnchors

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


@dataclass(frozen=True)
class Sighting:
    """A portrait of a random person in which a face was found.

    Args:
        base_dm: The person's head.
        scene: What was rendered.
        camera: That saw it.
        landmarks: Detected, image widths.
    """

    base_dm: Float[np.ndarray, "19158 3"]
    scene: PortraitScene
    camera: Camera
    landmarks: Float[np.ndarray, "478 2"]


def reprojection_errors(
    heads: HeadShapes, studio: PortraitStudio, anchors: TemplateAnchors, *, portraits: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "p 468"], Float[np.ndarray, "p"]]:
    """How far the embedding's landmarks are from the detected ones, in distances between the eyes.

    Args:
        heads: Of the people.
        studio: With a calibrated template.
        anchors: Of the template.
        portraits: Tried; those without a face are left out.
        rng: Not the one of the calibration, so that the people are others.

    Returns:
        On the true head seen by the true camera, where the detector's own scatter counts; and the median on the
        head and camera that were fitted to the landmarks.
    """
    known, fitted = [], []
    for _ in range(portraits):
        found = _photographed(heads, studio, rng)
        if found is not None:
            vertices = anchors.read(heads.makehuman, found.base_dm)
            known.append(embedding_error(studio.template, vertices, found.camera, found.landmarks))
            fit = fit_template(studio.template, found.landmarks, Lens(float(found.camera.intrinsics[0, 0])))
            fitted.append(fit.residual_m / (INTEROCULAR_DM * METRES_PER_DM))
    return np.stack(known), np.array(fitted)


def embedding_error(
    template: Template, vertices: Float[np.ndarray, "n 3"], camera: Camera, landmarks: Float[np.ndarray, "478 2"]
) -> Float[np.ndarray, "468"]:
    """Distance of each detected landmark to its template point on a known head, in distances between the eyes."""
    used = slice(0, IRIS_LANDMARKS)
    corners = vertices[template.faces[template.landmark_faces[used]]]
    image, depth = project(camera, np.einsum("nci,nc->ni", corners, template.landmark_weights[used]))
    eyes = INTEROCULAR_DM * METRES_PER_DM * camera.intrinsics[0, 0] / np.median(depth)
    return np.linalg.norm(image - landmarks[used], axis=1) / eyes


def _one_portrait(
    heads: HeadShapes, studio: PortraitStudio, rng: np.random.Generator
) -> Float[np.ndarray, "478 3"] | None:
    """Canonical places of the landmarks of one random portrait; NaN where they miss the face."""
    found = _photographed(heads, studio, rng)
    return None if found is None else canonical_places(found.scene, found.camera, found.landmarks)


def _photographed(heads: HeadShapes, studio: PortraitStudio, rng: np.random.Generator) -> Sighting | None:
    """A random person from a random side; None where no face is found."""
    identity = heads.sample(rng)
    appearance = sample_appearance(rng, identity.gender, identity.age, ancestry=identity.ancestry)
    dressing = sample_dressing(rng, appearance)
    if rng.random() < 0.3:
        dressing = replace(dressing, style=BALD)
    base = heads.build(identity)
    scene = studio.scene(base, appearance, dressing)
    camera = portrait_camera(
        yaw_deg=float(rng.uniform(-YAW_DEG, YAW_DEG)), pitch_deg=float(rng.uniform(-PITCH_DEG, PITCH_DEG))
    )
    picture = render_portrait(scene.subject, camera, sample_light(rng), size_px=PORTRAIT_PX, supersample=1)
    alpha = picture.rgba[..., 3:] / 255.0
    background = rng.uniform(60, 220, 3)
    pixels = (picture.rgba[..., :3] * alpha + background * (1 - alpha)).astype(np.uint8)
    faces = detect_faces(pixels)
    return Sighting(base, scene, camera, faces[0].landmarks / PORTRAIT_PX) if faces else None


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
