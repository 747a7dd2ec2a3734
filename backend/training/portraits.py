# SPDX-License-Identifier: Apache-2.0
"""Synthetic portraits of random people, with the truth about every pixel."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from skimage.measure import marching_cubes

from backend.camera import Camera, look_at_camera
from backend.template import Deformation, Template
from backend.training.appearance import Appearance
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet
from backend.training.dataset import BALD, Dressing, hair_distance
from backend.training.eyes import eye_color
from backend.training.hair import hair_color
from backend.training.makehuman import MakeHuman, fit_proxy, to_canonical
from backend.training.masks import masks_at_uv
from backend.training.render import Subject
from backend.training.skin import skin_color
from backend.training.solid import SIDE, BodySolid, lattice_points
from backend.training.tops import top_color

DISTANCE_M = 1.2
FRAME_M = 0.40  # Width of the scene that a portrait shows at the head.
SHINE_SKIN, SHINE_EYE, SHINE_CLOTH = 0.25, 1.0, 0.05


@dataclass(frozen=True)
class PortraitScene:
    """A dressed head in its own world, for the renderer.

    Args:
        subject: What is rendered.
        canonical: The same vertices in canonical space.
    """

    subject: Subject
    canonical: Float[np.ndarray, "v 3"]


def portrait_camera(*, yaw_deg: float, pitch_deg: float) -> Camera:
    """A portrait lens at portrait distance."""
    return look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=DISTANCE_M, focal=DISTANCE_M / FRAME_M)


class PortraitStudio:
    """Builds scenes.

    Args:
        makehuman: The assets.
        solid: The mean body, canonical.
        canonical: Hair and tops.
        template: Carries hair and tops onto other heads.
    """

    def __init__(self, makehuman: MakeHuman, solid: BodySolid, canonical: CanonicalSet, template: Template) -> None:
        self.makehuman, self.solid, self.canonical, self.template = makehuman, solid, canonical, template
        base, eyes = makehuman.body, makehuman.eyes
        self._rest = np.concatenate([base.vertices, fit_proxy(eyes, base.vertices)])
        uv = np.concatenate([base.uv[base.faces_uv], np.zeros((len(eyes.mesh.faces), 3, 2), np.float32)])
        self._uv = uv.astype(np.float32)
        self._textures = makehuman.folder / "mpfb2" / "textures"

    def scene(self, base_dm: Float[np.ndarray, "19158 3"], appearance: Appearance, dressing: Dressing) -> PortraitScene:
        """A person: MakeHuman's skin and eyes with their shape, hair and top carried along by the template."""
        skin = np.concatenate([to_canonical(base_dm), to_canonical(fit_proxy(self.makehuman.eyes, base_dm))])
        offsets = _offsets_of(self.template, self.solid, skin)
        vertices, canonical, faces = [skin], [self.solid.vertices], [self.solid.faces]
        part = [np.r_[np.zeros(len(self.solid.skin_faces)), np.ones(len(self.solid.eye_faces))]]
        for number, worn in ((2, self._hair(dressing)), (3, self._top(dressing))):
            if worn is None:
                continue
            faces.append(worn[1] + sum(len(block) for block in vertices))
            vertices.append(Deformation(self.template, offsets, SIDE).to_world(worn[0]))
            canonical.append(worn[0])
            part.append(np.full(len(worn[1]), number))
        part_of_face = np.concatenate(part).astype(np.int64)
        places = np.concatenate(canonical)
        all_faces = np.concatenate(faces)

        def color_of_hit(triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"]) -> np.ndarray:
            return self._color(appearance, dressing, all_faces, part_of_face, places, triangle, barycentric)

        shine = np.array([SHINE_SKIN, SHINE_EYE, SHINE_CLOTH, SHINE_CLOTH])[part_of_face]
        return PortraitScene(Subject(np.concatenate(vertices), all_faces, color_of_hit, shine), places)

    def _hair(self, dressing: Dressing) -> tuple[np.ndarray, np.ndarray] | None:
        if dressing.style == BALD:
            return None
        nodes = self.canonical.hair.shape[1]
        grid = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (nodes,) * 3)
        distance = hair_distance(dressing, self.canonical, grid.reshape(-1, 3)).reshape(grid.shape[:3])
        return _surface(distance)

    def _top(self, dressing: Dressing) -> tuple[np.ndarray, np.ndarray] | None:
        return _surface(self.canonical.tops[dressing.top].astype(np.float32))

    def _color(
        self,
        appearance: Appearance,
        dressing: Dressing,
        faces: np.ndarray,
        part_of_face: np.ndarray,
        canonical: np.ndarray,
        triangle: np.ndarray,
        barycentric: np.ndarray,
    ) -> np.ndarray:
        colors = np.zeros((len(triangle), 3))
        part = part_of_face[triangle]
        for number in range(4):
            chosen = np.flatnonzero(part == number)
            if not len(chosen):
                continue
            corners, weights = faces[triangle[chosen]], barycentric[chosen, :, None]
            if number < 2:
                rest = (self._rest[corners] * weights).sum(1)
                uv = (self._uv[triangle[chosen]] * weights).sum(1)
                masks = masks_at_uv(self._textures, uv.astype(np.float32))
                colors[chosen] = skin_color(appearance, rest, masks) if number == 0 else eye_color(appearance, rest)
                continue
            points = (canonical[corners] * weights).sum(1)
            if number == 2:
                colors[chosen] = hair_color(appearance, points, HAIR_STYLES[dressing.style])
            else:
                colors[chosen] = top_color(appearance, points, TOPS[dressing.top])
        return colors


def _surface(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    if not (distance < 0).any():
        return None
    spacing = SIDE / (distance.shape[0] - 1)
    vertices, faces, _, _ = marching_cubes(distance, 0.0, spacing=(spacing,) * 3, gradient_direction="descent")
    return vertices - SIDE / 2, faces


def _offsets_of(template: Template, solid: BodySolid, skin: np.ndarray) -> np.ndarray:
    """How far a person's skin moves each template vertex, read at the nearest body vertices."""
    from scipy.spatial import cKDTree

    distance, near = cKDTree(solid.vertices).query(template.vertices, k=4)
    weight = 1 / (distance + 1e-4) ** 2
    weight /= weight.sum(1, keepdims=True)
    return ((skin - solid.vertices)[near] * weight[..., None]).sum(1)
