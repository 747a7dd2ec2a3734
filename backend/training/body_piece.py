# SPDX-License-Identifier: Apache-2.0
"""Skin and eyeballs of a person, painted once and then seen from anywhere."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.training.appearance import Appearance
from backend.training.eyes import eye_color
from backend.training.light import linear_from_srgb
from backend.training.makehuman import MakeHuman, fit_proxy, to_canonical
from backend.training.masks import masks_at_uv
from backend.training.mesh_colors import MeshSamples, resolution_for
from backend.training.pieces import EYE, SKIN
from backend.training.skin import skin_color_at
from backend.training.skin_points import SkinPoints
from backend.training.skin_relief import skin_relief, skin_shine, stubble_grain
from backend.training.solid import BodySolid
from backend.training.subject import SOLID, Hits, Surface

# What a headshot may show of the body.
LOWEST_M, HALF_WIDTH_M = -0.30, 0.33
# Distance between samples of paint: at eyes and lips, on the face, and far from it.
FINE_M, FACE_M, COARSE_M, EYE_M = 0.0008, 0.0010, 0.005, 0.0005
FACE_CENTRE_M, FACE_RADII = np.array([0.0, -0.005, 0.10]), np.array([1.0, 1.15, 1.0])
FACE_REACH_M = (0.075, 0.125)
EYE_PLACE_M, EYE_RADII = np.array([0.031, 0.031, 0.100]), np.array([1.3, 1.0, 1.5])
LIPS_PLACE_M, LIPS_RADII = np.array([0.0, -0.038, 0.120]), np.array([1.6, 1.0, 1.5])
FINE_REACH_M = 0.022
EYE_SHINE = 0.9
FINEST_RELIEF_M = 0.0009  # Rays further apart than this would see pores as noise.


class BodyCanvas:
    """The part of MakeHuman's body that portraits show, with places for paint that are the same for everybody.

    Args:
        makehuman: The assets.
        solid: The mean body.
    """

    def __init__(self, makehuman: MakeHuman, solid: BodySolid) -> None:
        self._makehuman = makehuman
        corners = solid.vertices[solid.skin_faces]
        is_near = (corners[..., 1].max(1) > LOWEST_M) & (np.abs(corners[..., 0]).min(1) < HALF_WIDTH_M)
        faces = np.concatenate([solid.skin_faces[is_near], solid.eye_faces])
        self.used, local = np.unique(faces, return_inverse=True)
        self.faces: Int[np.ndarray, "f 3"] = local.reshape(-1, 3)
        self.skin_count = int(is_near.sum())
        self.part = np.where(np.arange(len(faces)) < self.skin_count, SKIN, EYE)
        self.canonical = solid.vertices[self.used]
        self.samples = MeshSamples(resolution_for(self.canonical, self.faces, self._spacing()))
        base, eyes = makehuman.body, makehuman.eyes
        rest = np.concatenate([base.vertices, fit_proxy(eyes, base.vertices)])[faces]
        triangle, weights = self.samples.triangle, self.samples.barycentric[..., None]
        places = (rest[triangle] * weights).sum(1)
        on_skin = triangle < self.skin_count
        uv = base.uv[base.faces_uv[is_near]][triangle[on_skin]]
        masks = masks_at_uv(makehuman.folder / "mpfb2" / "textures", (uv * weights[on_skin]).sum(1).astype(np.float32))
        self._skin = SkinPoints(places[on_skin], masks)
        self._eyes = places[~on_skin]

    def _spacing(self) -> Float[np.ndarray, "f"]:
        centre = self.canonical[self.faces].mean(1)
        mirrored = np.concatenate([np.abs(centre[:, :1]), centre[:, 1:]], axis=1)
        near, far = FACE_REACH_M
        away = np.clip((np.linalg.norm((centre - FACE_CENTRE_M) / FACE_RADII, axis=1) - near) / (far - near), 0, 1)
        spacing = FACE_M + (COARSE_M - FACE_M) * away
        for place, radii in ((EYE_PLACE_M, EYE_RADII), (LIPS_PLACE_M, LIPS_RADII)):
            is_fine = np.linalg.norm((mirrored - place) / radii, axis=1) < FINE_REACH_M
            spacing[is_fine] = np.minimum(spacing[is_fine], FINE_M)
        return np.where(self.part == EYE, EYE_M, spacing)

    def vertices(self, base_dm: Float[np.ndarray, "19158 3"]) -> Float[np.ndarray, "v 3"]:
        """The body of another base mesh, metres."""
        whole = np.concatenate([base_dm, fit_proxy(self._makehuman.eyes, base_dm)])
        return to_canonical(whole[self.used])

    def paint(self, appearance: Appearance) -> "BodyPaint":
        """Colour, shine and relief of a person at all samples."""
        grain = stubble_grain(appearance, self._skin)[:, None]
        skin = linear_from_srgb(np.clip(skin_color_at(appearance, self._skin) * grain, 0, 1))
        eyes = linear_from_srgb(eye_color(appearance, self._eyes))
        shine = np.concatenate([skin_shine(appearance, self._skin), np.full(len(eyes), EYE_SHINE)])
        relief = np.concatenate([skin_relief(appearance, self._skin), np.zeros(len(eyes))])
        look = np.concatenate([np.concatenate([skin, eyes]), shine[:, None]], axis=1)
        return BodyPaint(look.astype(np.float32), relief.astype(np.float32))


@dataclass(frozen=True)
class BodyPaint:
    """Paint at a canvas's samples.

    Args:
        look: Linear RGB, then shine.
        relief: Height, metres.
    """

    look: Float[np.ndarray, "m 4"]
    relief: Float[np.ndarray, "m"]


class BodyPiece:
    """One person's skin and eyes.

    Args:
        canvas: Everybody's.
        paint: The person's.
        vertices: From ``canvas.vertices``.
        hidden: Triangles under clothes, which are left out.
    """

    kind, bake_spacing = SOLID, 0.0

    def __init__(
        self,
        canvas: BodyCanvas,
        paint: BodyPaint,
        vertices: Float[np.ndarray, "v 3"],
        hidden: Bool[np.ndarray, "g"],
    ) -> None:
        self._canvas, self._paint = canvas, paint
        self._shown = np.flatnonzero(~hidden)
        self.vertices, self.canonical = vertices, canvas.canonical
        self.faces, self.part = canvas.faces[self._shown], canvas.part[self._shown]

    @cached_property
    def _slopes(self) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, "f 3"]]:
        first, second = dual_edges(self.vertices, self.faces)
        return first.astype(np.float32), second.astype(np.float32)

    def surface(self, hits: Hits) -> Surface:
        """The paint at hits; with pores and wrinkles where rays are close enough together to see them."""
        places = self._canvas.samples.at(self._shown.take(hits.triangle), hits.barycentric)
        look = places.read(self._paint.look)
        tilt = None
        if hits.footprint < FINEST_RELIEF_M:
            slope = places.slope(self._paint.relief)
            first, second = (each.take(hits.triangle, axis=0) for each in self._slopes)
            tilt = -(slope[:, :1] * first + slope[:, 1:] * second)
        return Surface(look[:, :3], look[:, 3], tilt)


def dual_edges(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, "f 3"]]:
    """Gradients in space of each triangle's first and second barycentric weight; 0 for triangles without area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    first, second = a - c, b - c
    normal = np.cross(first, second)
    squared = np.maximum(np.einsum("fc,fc->f", normal, normal), 1e-24)[:, None]
    return np.cross(second, normal) / squared, np.cross(normal, first) / squared
