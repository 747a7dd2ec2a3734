# SPDX-License-Identifier: Apache-2.0
"""Finds which template point each face-mesh landmark is, by detecting landmarks on portraits with known geometry."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from backend.camera import Camera, project, rays
from backend.inversion.parametric import IRIS_LANDMARKS, Lens, fit_template
from backend.landmark_errors import in_image
from backend.landmarks import detect_faces
from backend.pose import fit_camera
from backend.template import Template
from backend.training.appearance import sample_appearance
from backend.training.dressing import BALD, sample_dressing
from backend.training.heads import INTEROCULAR_DM, HeadShapes
from backend.training.kept import content_mark, kept, kept_name
from backend.training.light import sample_light
from backend.training.makehuman import METRES_PER_DM
from backend.training.portraits import PortraitScene, PortraitStudio, portrait_camera
from backend.training.prepare import Prepared
from backend.training.render import render_portrait
from backend.training.solid import BodySolid
from backend.training.template import TemplateAnchors

PORTRAIT_PX = 320
YAW_DEG, PITCH_DEG = 32.0, 12.0
LEAST_SIGHTINGS = 8
SEED = 5
MESH_LANDMARKS = slice(IRIS_LANDMARKS)  # Of the face itself.


def calibrated_template(
    heads: HeadShapes, prepared: Prepared, work: Path, *, portraits: int, log: Callable[[str], None]
) -> Template:
    """The prepared template with its landmarks; found once, then read from ``work``.

    Args:
        heads: The people whose portraits are taken.
        prepared: Template and canonical space.
        work: For intermediate results.
        portraits: How many are rendered.
        log: Hears of the progress.

    Raises:
        ModelError: What ``work`` holds is damaged.
        OutputError: It cannot be written.
    """
    known = prepared.template

    def calibrated() -> Template:
        solid = BodySolid(heads.makehuman, prepared.parted_base)
        studio = PortraitStudio(heads.makehuman, solid, prepared.canonical, known)
        return calibrate_landmarks(heads, studio, portraits=portraits, rng=np.random.default_rng(SEED), log=log)

    name = kept_name("landmarks", modules=("calibrate",), numbers=(content_mark(known), portraits))
    return kept(work / name, calibrated)


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
class FoundFace:
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


@dataclass(frozen=True)
class Reprojection:
    """How far detected landmarks are from the template's in one portrait, in distances between the eyes.

    Args:
        known: From those of the true head before the true camera.
        posed: From those of the true head before the camera that the landmarks themselves give.
        expected: The same, less what the template knows of the detector's bias; ``posed`` where it knows nothing.
        fitted: From those of the fitted head before its camera.
    """

    known: Float[np.ndarray, "468"]
    posed: Float[np.ndarray, "468"]
    expected: Float[np.ndarray, "468"]
    fitted: Float[np.ndarray, "468"]


def reprojection_errors(
    heads: HeadShapes, studio: PortraitStudio, anchors: TemplateAnchors, *, portraits: int, rng: np.random.Generator
) -> list[Reprojection]:
    """How well the embedding explains what is detected on people at rest.

    Args:
        heads: Of the people.
        studio: With a calibrated template.
        anchors: Of the template.
        portraits: Tried; those without a face are left out.
        rng: Not the one of the calibration, so that the people are others.
    """
    found = (_photographed(heads, studio, rng) for _ in range(portraits))
    return [
        reprojection(studio.template, anchors.read(heads.makehuman, one.base_dm), one.camera, one.landmarks)
        for one in found
        if one is not None
    ]


def reprojection(
    template: Template, vertices: Float[np.ndarray, "n 3"], camera: Camera, landmarks: Float[np.ndarray, "478 2"]
) -> Reprojection:
    """Detected landmarks against a known head.

    Args:
        template: With landmarks.
        vertices: Of the template on the head.
        camera: Of the portrait; its lens is taken for known.
        landmarks: Detected, image widths.
    """
    points, seen = template.landmarks(vertices, MESH_LANDMARKS), landmarks[:IRIS_LANDMARKS]
    posed = _camera_of(template, points, seen, camera)
    less = seen
    if template.landmark_errors is not None:
        less = seen - in_image(posed, points, template.landmark_errors.mean(posed))
    fit = fit_template(template, landmarks, Lens(float(camera.intrinsics[0, 0])))
    head = template.landmarks(template.vertices + template.offsets(fit.shape, fit.expression), MESH_LANDMARKS)
    return Reprojection(
        embedding_error(points, camera, seen),
        embedding_error(points, posed, seen),
        embedding_error(points, _camera_of(template, points, less, camera), less),
        embedding_error(head, fit.camera, seen),
    )


def embedding_error(
    points: Float[np.ndarray, "n 3"], camera: Camera, landmarks: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n"]:
    """Distance of each detected landmark (image widths) to its point of a head, in distances between the eyes."""
    image, depth = project(camera, points)
    eyes = INTEROCULAR_DM * METRES_PER_DM * camera.intrinsics[0, 0] / np.median(depth)
    return np.linalg.norm(image - landmarks, axis=1) / eyes


def _camera_of(
    template: Template, points: Float[np.ndarray, "n 3"], seen: Float[np.ndarray, "n 2"], lens: Camera
) -> Camera:
    """What landmarks say of the camera before a known head; only its lens is given."""
    noise = template.landmark_noise[:IRIS_LANDMARKS]
    middle = float(lens.intrinsics[0, 2]), float(lens.intrinsics[1, 2])
    weights = (noise.min() / noise) ** 2
    return fit_camera(points, seen, focal=float(lens.intrinsics[0, 0]), weights=weights, principal_point=middle)


def _one_portrait(
    heads: HeadShapes, studio: PortraitStudio, rng: np.random.Generator
) -> Float[np.ndarray, "478 3"] | None:
    """Canonical places of the landmarks of one random portrait; NaN where they miss the face."""
    found = _photographed(heads, studio, rng)
    return None if found is None else canonical_places(found.scene, found.camera, found.landmarks)


def _photographed(heads: HeadShapes, studio: PortraitStudio, rng: np.random.Generator) -> FoundFace | None:
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
    return FoundFace(base, scene, camera, faces[0].landmarks / PORTRAIT_PX) if faces else None


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
