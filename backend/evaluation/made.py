# SPDX-License-Identifier: Apache-2.0
"""A finished head as the evaluation looks at it: pictures, depth, and the landmarks that a detector finds on it."""

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from backend.camera import Camera, look_at_camera, rays
from backend.errors import ProtomeError
from backend.evaluation.geometry_metrics import smooth_normals
from backend.evaluation.registration import SEVEN_LANDMARKS, Similarity
from backend.head import Head
from backend.identity import descriptor, descriptor_distance
from backend.landmarks import detect_faces
from backend.mesh import Mesh
from backend.raycast import Caster, render_mesh

BACKGROUND = (128, 128, 128)
CLAY = np.full((1, 1, 3), (186, 180, 172), np.uint8)
LANDMARKS_PX = 512
DISTANCE_M, FRAME_M = 1.5, 0.36
NOBODY = 1.0  # Distance of descriptors where no face is found; 0.6 is already somebody else.


class NoFace(ProtomeError):
    """The finished head shows no face that a detector finds."""

    default_code = "no_face_on_head"


@dataclass(frozen=True)
class MadeHead:
    """A mesh with its texture, where it was made or brought to the truth.

    Args:
        mesh: With uv.
        texture: For its uv.
    """

    mesh: Mesh
    texture: UInt8[np.ndarray, "t t 3"]

    def placed(self, similarity: Similarity) -> "MadeHead":
        """Somewhere else."""
        return MadeHead(similarity.place_mesh(self.mesh), self.texture)

    def view(self, camera: Camera, size_px: int) -> UInt8[np.ndarray, "s s 3"]:
        """An unlit picture on grey."""
        return render_mesh(self.mesh, self.texture, camera, size_px, background=BACKGROUND)

    def clay(self, camera: Camera, size_px: int) -> UInt8[np.ndarray, "s s 3"]:
        """The bare shape, lit from the camera."""
        return render_mesh(self.mesh, CLAY, camera, size_px, background=BACKGROUND, shaded=True)

    def surface(self, camera: Camera, size_px: int) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s 3"]]:
        """Depth along the optical axis, infinite where nothing is seen, and unit normals, 0 there."""
        origin, directions = rays(camera, size_px)
        flat = directions.reshape(-1, 3)
        triangle, barycentric, distance = self.caster.first_hit(origin[None], flat)
        hit = triangle >= 0
        depth, normal = np.full(len(flat), np.inf), np.zeros((len(flat), 3))
        depth[hit] = distance[hit] * (flat[hit] @ camera.cam2world[:3, 2])
        normal[hit] = smooth_normals(self.mesh, triangle[hit], barycentric[hit])
        return depth.reshape(size_px, size_px), normal.reshape(size_px, size_px, 3)

    @cached_property
    def caster(self) -> Caster:
        """Finds where rays meet the mesh."""
        return Caster(self.mesh.vertices, self.mesh.faces)


def front_camera(metres_per_unit: float, yaw_deg: float = 0.0) -> Camera:
    """A portrait camera level with a model's head, in the model's world; the origin lies in the head."""
    distance = DISTANCE_M / metres_per_unit
    return look_at_camera(yaw_deg=yaw_deg, pitch_deg=0.0, distance=distance, focal=DISTANCE_M / FRAME_M)


def seven_landmarks(head: Head) -> Float[np.ndarray, "7 3"]:
    """Corners of eyes and mouth and the nose's base on a finished head, as a detector sees them from in front.

    Raises:
        NoFace: It sees no face, or a landmark beside the head.
    """
    camera = front_camera(head.metres_per_unit)
    picture = render_mesh(head.mesh, head.texture, camera, LANDMARKS_PX, background=BACKGROUND)
    faces = detect_faces(picture)
    if not faces:
        raise NoFace("No face is found on the finished head from in front: it cannot be brought to the truth.")
    places = faces[0].landmarks[list(SEVEN_LANDMARKS)] / LANDMARKS_PX
    pixels = np.concatenate([places, np.ones((len(places), 1))], axis=1)
    directions = pixels @ np.linalg.inv(camera.intrinsics).T @ camera.cam2world[:3, :3].T
    caster = Caster(head.mesh.vertices, head.mesh.faces)
    triangle, _, distance = caster.first_hit(camera.position[None], directions)
    if (triangle < 0).any():
        raise NoFace("A landmark of the finished head lies beside it: it cannot be brought to the truth.")
    return camera.position + distance[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def describe(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "128"] | None:
    """Descriptor of the largest face; None where there is none."""
    faces = detect_faces(pixels)
    return descriptor(pixels, faces[0].landmarks) if faces else None


def identity_distance(photo: Float[np.ndarray, "128"] | None, other: Float[np.ndarray, "128"] | None) -> float:
    """Distance of two descriptors; ``NOBODY`` where one shows no face."""
    return NOBODY if photo is None or other is None else min(descriptor_distance(photo, other), NOBODY)


def portrait_of(head: Head) -> UInt8[np.ndarray, "s s 3"]:
    """The square of the photo that the main path worked on."""
    with Image.open(io.BytesIO(head.record.portrait_jpeg)) as image:
        return np.asarray(image.convert("RGB"))


def portrait_camera(head: Head) -> Camera:
    """The camera of that square, as the main path estimated it, in the model's world."""
    return Camera(np.array(head.record.camera["cam2world"]), np.array(head.record.camera["intrinsics"]))


def landmark_percent(head: Head) -> float | None:
    """How far landmarks on a render through the estimated camera are from those of the portrait.

    Returns:
        Median in percent of the distance between the eyes; None where one of the pictures shows no face.
    """
    portrait = portrait_of(head)
    made = render_mesh(head.mesh, head.texture, portrait_camera(head), len(portrait), background=BACKGROUND)
    first, second = detect_faces(portrait), detect_faces(made)
    if not first or not second:
        return None
    distance = np.linalg.norm(first[0].landmarks - second[0].landmarks, axis=1)
    return float(100 * np.median(distance) / first[0].eye_distance_px)
