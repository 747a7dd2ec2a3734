# SPDX-License-Identifier: Apache-2.0
"""A held-out person with all that is true of them: photo, views from anywhere, the scanned face and head."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from jaxtyping import Bool, Float, UInt8

from backend import face_mesh_points as points
from backend.camera import Camera, look_at_camera
from backend.evaluation.geometry_metrics import sample_surface
from backend.evaluation.held_out import HeldOutHead, HeldOutList
from backend.evaluation.registration import Similarity, fit_similarity
from backend.raycast import Caster
from backend.training.backdrop import over_backdrop, sample_backdrop
from backend.training.framing import HEAD_CENTRE_M
from backend.training.light import Light, sample_light, sphere_directions
from backend.training.pieces import EYE, SKIN, TOP
from backend.training.portrait_source import PortraitSource
from backend.training.portraits import PortraitScene
from backend.training.render import render_portrait
from backend.training.subject import CLEAR, DOWN, Rendering

INTEROCULAR_MM = 63.0
GREY = 128
FACE_RADIUS_M = 0.095  # Around the nose tip, as far as the NoW benchmark's scans go.
FACE_CENTRE_M, FACE_REACH_M = np.array([0.0, -0.01, 0.11]), 0.08  # On the mean head.
BELOW_CHIN_M = 0.020
SCAN_YAWS_DEG = (-45.0, 0.0, 45.0)
SCAN_POINTS, HEAD_POINTS, HEAD_DIRECTIONS = 30_000, 30_000, 32
LIFT_M = 5e-4
VIEW_DISTANCE_M, VIEW_FRAME_M = 1.5, 0.36


@dataclass(frozen=True)
class TruthView:
    """A picture of the truth.

    Args:
        color: On grey.
        inside: Where the person fills the pixel.
        head: Of these, without clothes and nothing below the chin.
        face: Of these, skin and eyes of the face.
        depth: Along the optical axis, metres.
        normal: Unit, world axes.
    """

    color: UInt8[np.ndarray, "s s 3"]
    inside: Bool[np.ndarray, "s s"]
    head: Bool[np.ndarray, "s s"]
    face: Bool[np.ndarray, "s s"]
    depth: Float[np.ndarray, "s s"]
    normal: Float[np.ndarray, "s s 3"]


@dataclass(frozen=True)
class TruthHead:
    """One item of a list.

    Args:
        item: The item.
        scene: The person.
        landmarks: Face-mesh landmarks in the scene, metres.
        frame: From the world of the mean head, which looks along +z, to the scene, where the person may look aside.
        light: The same for all pictures.
        seed: Of the list.
        size_px: Side of the photo.
    """

    item: HeldOutHead
    scene: PortraitScene
    landmarks: Float[np.ndarray, "478 3"]
    frame: Similarity
    light: Light
    seed: int
    size_px: int

    @cached_property
    def camera(self) -> Camera:
        """Of the photo."""
        return self.frame.place_camera(self.item.camera())

    @cached_property
    def photo(self) -> UInt8[np.ndarray, "s s 3"]:
        """The person before a backdrop."""
        picture = render_portrait(self.scene.subject, self.camera, self.light, size_px=self.size_px)
        backdrop = sample_backdrop(np.random.default_rng([self.seed, self.item.number, 3]), self.size_px)
        return over_backdrop(picture.rgba, backdrop)

    @property
    def photo_sha256(self) -> str:
        """Of the photo's pixels."""
        return sha256(self.photo.tobytes()).hexdigest()

    @cached_property
    def mm_per_m(self) -> float:
        """Millimetres of a head whose eyes are 63 mm apart."""
        eyes = self.landmarks[[points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER]].mean(0) - self.landmarks[
            [points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER]
        ].mean(0)
        return INTEROCULAR_MM / float(np.linalg.norm(eyes))

    def turned(self, camera: Camera, turn_deg: float) -> Camera:
        """A camera carried around the head's upright axis, to its left for positive turns."""
        angle = np.radians(turn_deg)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        rotation = self.frame.rotation @ turn @ self.frame.rotation.T
        centre = self.frame.place(HEAD_CENTRE_M[None])[0]
        return Similarity(1.0, rotation, centre - rotation @ centre).place_camera(camera)

    def studio_camera(self, yaw_deg: float) -> Camera:
        """A portrait camera level with the head; 0 is in front of the face."""
        camera = look_at_camera(
            yaw_deg=yaw_deg, pitch_deg=0.0, distance=VIEW_DISTANCE_M, focal=VIEW_DISTANCE_M / VIEW_FRAME_M,
            target=HEAD_CENTRE_M,
        )  # fmt: skip
        return self.frame.place_camera(camera)

    def view(self, camera: Camera, size_px: int) -> TruthView:
        """What a camera sees."""
        picture = render_portrait(self.scene.subject, camera, self.light, size_px=size_px)
        color = over_backdrop(picture.rgba, np.full((size_px, size_px, 3), GREY, np.uint8))
        inside = picture.rgba[..., 3] > 252
        seen = inside & (picture.triangle >= 0)
        head, face = np.zeros_like(seen), np.zeros_like(seen)
        head[seen], face[seen] = self._regions(picture, seen)
        return TruthView(color, inside, head, face, picture.depth, picture.normal)

    def _regions(self, picture: Rendering, seen: Bool[np.ndarray, "s s"]) -> tuple[np.ndarray, np.ndarray]:
        triangle = picture.triangle[seen]
        corners = self.scene.subject.vertices[self.scene.subject.faces[triangle]]
        places = np.einsum("nk,nkc->nc", picture.barycentric[seen], corners)
        part = self.scene.part[triangle]
        head = self.on_head(places) & (part != TOP)
        return head, head & np.isin(part, (SKIN, EYE)) & self._near_nose(places)

    def on_head(self, places: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Whether places are not below the chin, seen from the upright head."""
        up = self.frame.rotation[:, 1]
        return (places - self.landmarks[points.CHIN]) @ up > -BELOW_CHIN_M

    def _near_nose(self, places: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        return np.linalg.norm(places - self.landmarks[points.NOSE_TIP], axis=1) < FACE_RADIUS_M

    @cached_property
    def face_scan(self) -> Float[np.ndarray, "n 3"]:
        """Points spread evenly over the bare skin of the face, as scanned from in front and from both sides."""
        subject = self.scene.subject
        centres = subject.vertices[subject.faces].mean(1)
        chosen = np.isin(self.scene.part, (SKIN, EYE)) & self._near_nose(centres) & (subject.kind != DOWN)
        rng = np.random.default_rng([self.seed, self.item.number, 5])
        places, normals, _ = sample_surface(subject.vertices, subject.faces[chosen], SCAN_POINTS, rng)
        yaws = np.radians(SCAN_YAWS_DEG)
        towards = np.stack([np.sin(yaws), np.zeros(3), np.cos(yaws)], axis=1) @ self.frame.rotation.T
        return places[in_sight(places, normals, subject.light_caster, towards)]

    @cached_property
    def head_points(self) -> Float[np.ndarray, "n 3"]:
        """Points spread evenly over all that is seen of the head from around it, with hair and without clothes."""
        subject = self.scene.subject
        chosen = (self.scene.part != TOP) & (subject.kind != DOWN) & (subject.kind != CLEAR)
        return self.outer_points(subject.vertices, subject.faces, subject.faces[chosen], subject.light_caster)

    def outer_points(
        self, vertices: np.ndarray, faces: np.ndarray, chosen: np.ndarray, caster: Caster | None = None
    ) -> Float[np.ndarray, "n 3"]:
        """Points spread evenly over the outer surface of a mesh in the scene, above the chin.

        Args:
            vertices: Of the mesh.
            faces: All of it.
            chosen: Of these, those that are sampled.
            caster: Of the mesh, if there is one.
        """
        rng = np.random.default_rng([self.seed, self.item.number, 6])
        near = self.on_head(vertices[chosen].mean(1))
        places, normals, _ = sample_surface(vertices, chosen[near], HEAD_POINTS, rng)
        towards = sphere_directions(HEAD_DIRECTIONS)
        return places[in_sight(places, normals, caster or Caster(vertices, faces), towards)]


def open_truth(source: PortraitSource, held_out: HeldOutList, item: HeldOutHead) -> TruthHead:
    """Build the person of an item."""
    person = source.person(held_out.seed, item.number, glasses_share=held_out.glasses_share)
    scene = source.scene(person)
    landmarks = source.landmarks.places(scene)
    light = sample_light(np.random.default_rng([held_out.seed, item.number, 2]))
    return TruthHead(item, scene, landmarks, head_frame(scene), light, held_out.seed, held_out.size_px)


def head_frame(scene: PortraitScene) -> Similarity:
    """The turn and shift that bring the mean head to a person's, by the skin of the face."""
    used = np.unique(scene.subject.faces[scene.body_face >= 0])
    on_face = used[np.linalg.norm(scene.canonical[used] - FACE_CENTRE_M, axis=1) < FACE_REACH_M]
    return fit_similarity(scene.canonical[on_face], scene.subject.vertices[on_face], is_rigid=True)


def in_sight(
    places: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], caster: Caster,
    towards: Float[np.ndarray, "d 3"],
) -> Bool[np.ndarray, "n"]:  # fmt: skip
    """Whether points of a surface are seen from far away in at least one of some directions.

    Args:
        places: Metres.
        normals: Unit, outwards.
        caster: Of all that can hide them.
        towards: Unit vectors from the surface to those who look.
    """
    seen = np.zeros(len(places), bool)
    for direction in towards:
        open_to = np.flatnonzero(~seen & (normals @ direction > 0.05))
        start = places[open_to] + LIFT_M * normals[open_to]
        way = np.broadcast_to(direction, start.shape)
        seen[open_to] = ~caster.is_blocked(start, way, np.inf)
    return seen
