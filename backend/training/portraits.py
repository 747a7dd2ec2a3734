# SPDX-License-Identifier: Apache-2.0
"""Synthetic people for portraits: a head shape, its colours, hair, top, expression and glasses become a subject."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from backend.camera import Camera, look_at_camera
from backend.template import LATTICE_NODES, Template, lattice_binding
from backend.training.appearance import Appearance
from backend.training.body_piece import BodyCanvas, BodyPiece
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet
from backend.training.cloth_piece import ClothPiece, Garment, load_garment
from backend.training.dataset import BALD, Dressing, hair_distance
from backend.training.glasses import Glasses, wear
from backend.training.hair_piece import HairPiece, HairShell, hair_shell
from backend.training.makehuman import BASE_VERTICES, METRES_PER_DM, ORIGIN_DM, MakeHuman, fit_proxy, to_canonical
from backend.training.pieces import Piece, assemble
from backend.training.solid import SIDE, BodySolid, lattice_points
from backend.training.subject import Subject

DISTANCE_M = 1.2
FRAME_M = 0.40  # Width of the scene that a portrait shows at the head.
CARRIERS = 4  # Body vertices that a template vertex follows.


@dataclass(frozen=True)
class PortraitScene:
    """A dressed head in its own world, for the renderer.

    Args:
        subject: What is rendered.
        canonical: Its vertices in canonical space.
        part: Label of each triangle, a place in ``pieces.PART_NAMES``.
    """

    subject: Subject
    canonical: Float[np.ndarray, "v 3"]
    part: np.ndarray


def portrait_camera(*, yaw_deg: float, pitch_deg: float) -> Camera:
    """A portrait lens at portrait distance."""
    return look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=DISTANCE_M, focal=DISTANCE_M / FRAME_M)


class PortraitStudio:
    """Builds scenes; what all people share is made once.

    Args:
        makehuman: The assets.
        solid: The mean body, canonical.
        canonical: Hair and tops.
        template: Carries hair onto other heads.
    """

    def __init__(self, makehuman: MakeHuman, solid: BodySolid, canonical: CanonicalSet, template: Template) -> None:
        self.makehuman, self.solid, self.canonical, self.template = makehuman, solid, canonical, template
        self._garments: dict[str, Garment] = {}

    def scene(
        self,
        base_dm: Float[np.ndarray, "19158 3"],
        appearance: Appearance,
        dressing: Dressing,
        glasses: Glasses | None = None,
    ) -> PortraitScene:
        """A person: MakeHuman's skin, eyes and top with their shape, and hair carried along by the template."""
        garment = self._garment(TOPS[dressing.top])
        canvas = self._canvas
        hidden = garment.hides[np.minimum(canvas.used, BASE_VERTICES - 1)][canvas.faces].all(1)
        hidden[canvas.skin_count :] = False
        body = canvas.vertices(base_dm)
        pieces: list[Piece] = [
            BodyPiece(canvas, canvas.paint(appearance), body, hidden),
            ClothPiece(garment, base_dm, appearance),
        ]
        shell = self._hair(dressing)
        if shell is not None:
            carried = shell.vertices + self._carry(base_dm, shell.vertices)
            pieces.append(HairPiece(shell, carried, appearance, HAIR_STYLES[dressing.style]))
        if glasses is not None:
            pieces += wear(glasses, canvas, body)
        return PortraitScene(
            assemble(pieces),
            np.concatenate([piece.canonical for piece in pieces]),
            np.concatenate([piece.part for piece in pieces]),
        )

    @cached_property
    def _canvas(self) -> BodyCanvas:
        return BodyCanvas(self.makehuman, self.solid)

    def _garment(self, name: str) -> Garment:
        if name not in self._garments:
            parted_base = self.solid.vertices[:BASE_VERTICES] / METRES_PER_DM + ORIGIN_DM
            self._garments[name] = load_garment(self.makehuman, name, parted_base)
        return self._garments[name]

    def _hair(self, dressing: Dressing) -> HairShell | None:
        if dressing.style == BALD:
            return None
        nodes = self.canonical.hair.shape[1]
        grid = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (nodes,) * 3)
        distance = hair_distance(dressing, self.canonical, grid.reshape(-1, 3)).reshape(grid.shape[:3])
        return hair_shell(distance, self.canonical.body)

    def _carry(
        self, base_dm: Float[np.ndarray, "19158 3"], points: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """How far a person's head moves canonical points: the template's movement on a lattice."""
        skin = np.concatenate([to_canonical(base_dm), to_canonical(fit_proxy(self.makehuman.eyes, base_dm))])
        near, weight = self._carriers
        offsets = np.einsum("nk,nkc->nc", weight, (skin - self.solid.vertices)[near])
        lattice = (lattice_binding(self.template, SIDE) @ offsets).reshape((LATTICE_NODES,) * 3 + (3,))
        index = (points / SIDE + 0.5).T * (LATTICE_NODES - 1)
        return np.stack(
            [map_coordinates(lattice[..., axis], index, order=1, mode="nearest") for axis in range(3)], axis=1
        )

    @cached_property
    def _carriers(self) -> tuple[np.ndarray, np.ndarray]:
        """Body vertices near each template vertex and their weights."""
        distance, near = cKDTree(self.solid.vertices).query(self.template.vertices, k=CARRIERS)
        weight = 1 / (distance + 1e-4) ** 2
        return near, weight / weight.sum(1, keepdims=True)
