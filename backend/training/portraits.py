# SPDX-License-Identifier: Apache-2.0
"""Synthetic people for portraits: a head shape, its colours, hair, top, expression and glasses become a subject."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from backend.camera import Camera, look_at_camera
from backend.template import LATTICE_NODES, Template, lattice_binding
from backend.training.appearance import Appearance
from backend.training.body_piece import BodyCanvas, BodyPiece
from backend.training.canonical import HAIR_STYLES, TOPS, CanonicalSet
from backend.training.cloth_piece import ClothPiece, Garment, load_garment
from backend.training.dressing import BALD, Dressing, hair_distance
from backend.training.glasses import Glasses, wear
from backend.training.hair_piece import HairPiece, HairShell, hair_shell
from backend.training.makehuman import BASE_VERTICES, METRES_PER_DM, ORIGIN_DM, MakeHuman, fit_proxy, to_canonical
from backend.training.motion import FaceMover, Motion
from backend.training.mouth_piece import MouthPiece
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
        body_face: The triangle of ``body_piece.BodyCanvas`` that each triangle is; -1 for all but skin and eyes.
    """

    subject: Subject
    canonical: Float[np.ndarray, "v 3"]
    part: Int[np.ndarray, "f"]
    body_face: Int[np.ndarray, "f"]


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
        mover: Makes faces; needed for motion only.
    """

    def __init__(
        self,
        makehuman: MakeHuman,
        solid: BodySolid,
        canonical: CanonicalSet,
        template: Template,
        mover: FaceMover | None = None,
    ) -> None:
        self.makehuman, self.solid, self.canonical, self.template = makehuman, solid, canonical, template
        self.mover = mover
        self._garments: dict[str, Garment] = {}

    def scene(
        self,
        base_dm: Float[np.ndarray, "19158 3"],
        appearance: Appearance,
        dressing: Dressing,
        *,
        motion: Motion | None = None,
        glasses: Glasses | None = None,
    ) -> PortraitScene:
        """A person: MakeHuman's skin, eyes and top with their shape, and hair carried along by the template.

        Args:
            base_dm: The head at rest, arms lowered.
            appearance: Colours.
            dressing: Hair and top.
            motion: Expression and pose; at rest when omitted.
            glasses: None when omitted.

        Raises:
            ValueError: There is motion, and the studio has nothing that moves.
        """
        if motion is not None and self.mover is None:
            raise ValueError("a studio without a FaceMover shows heads at rest only")
        expressed = base_dm if motion is None or self.mover is None else self.mover.with_expression(base_dm, motion)
        posed = expressed if motion is None or self.mover is None else self.mover.posed(expressed, motion)
        garment, canvas = self._garment(TOPS[dressing.top]), self.canvas
        hidden = garment.hides[np.minimum(canvas.used, BASE_VERTICES - 1)][canvas.faces].all(1)
        hidden[canvas.skin_count :] = False
        body = canvas.vertices(posed)
        pieces: list[Piece] = [
            BodyPiece(canvas, canvas.paint(appearance), body, hidden),
            ClothPiece(garment, posed, appearance),
        ]
        shell = self._hair(dressing)
        if shell is not None:
            carried = self._carried(shell.vertices, expressed, motion)
            pieces.append(HairPiece(shell, carried, appearance, HAIR_STYLES[dressing.style]))
        if motion is not None and self.mover is not None:
            pieces.append(self._mouth(self.mover, base_dm, expressed, motion))
        if glasses is not None:
            pieces += wear(glasses, canvas, body)
        return PortraitScene(
            assemble(pieces),
            np.concatenate([piece.canonical for piece in pieces]),
            np.concatenate([piece.part for piece in pieces]),
            np.concatenate([np.flatnonzero(~hidden), np.full(sum(len(piece.faces) for piece in pieces[1:]), -1)]),
        )

    def _mouth(
        self,
        mover: FaceMover,
        base_dm: Float[np.ndarray, "19158 3"],
        expressed: Float[np.ndarray, "19158 3"],
        motion: Motion,
    ) -> MouthPiece:
        placed = to_canonical(mover.mouth.place(base_dm, motion.expression))
        with_head = np.tile([0.0, 1.0], (len(placed), 1))
        rest = to_canonical(mover.mouth.place(self._parted_base, {}))
        return MouthPiece(mover.mouth, mover.posed_points(placed, with_head, expressed, motion), rest)

    @cached_property
    def _parted_base(self) -> Float[np.ndarray, "19158 3"]:
        """The base mesh of canonical space."""
        return self.solid.vertices[:BASE_VERTICES] / METRES_PER_DM + ORIGIN_DM

    @cached_property
    def canvas(self) -> BodyCanvas:
        """What portraits show of the body."""
        return BodyCanvas(self.makehuman, self.solid)

    def _garment(self, name: str) -> Garment:
        if name not in self._garments:
            self._garments[name] = load_garment(self.makehuman, name, self._parted_base)
        return self._garments[name]

    def _hair(self, dressing: Dressing) -> HairShell | None:
        if dressing.style == BALD:
            return None
        nodes = self.canonical.hair.shape[1]
        grid = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (nodes,) * 3)
        distance = hair_distance(dressing, self.canonical, grid.reshape(-1, 3)).reshape(grid.shape[:3])
        return hair_shell(distance, self.canonical.body)

    def _carried(
        self, points: Float[np.ndarray, "n 3"], expressed: Float[np.ndarray, "19158 3"], motion: Motion | None
    ) -> Float[np.ndarray, "n 3"]:
        """Canonical points on a person's head: they move as the template does, read from a lattice."""
        skin = np.concatenate([to_canonical(expressed), to_canonical(fit_proxy(self.makehuman.eyes, expressed))])
        near, weight = self._carriers
        offsets = np.einsum("nk,nkc->nc", weight, (skin - self.solid.vertices)[near])
        lattice = lattice_binding(self.template, SIDE) @ offsets
        shaped = points + _between_nodes(lattice, points)
        if motion is None or self.mover is None:
            return shaped
        return self.mover.posed_points(shaped, _between_nodes(self._lattice_shares, points), expressed, motion)

    @cached_property
    def _lattice_shares(self) -> Float[np.ndarray, "n 2"]:
        """Share of lattice nodes that goes with neck and head."""
        return self.template.point_shares(lattice_binding(self.template, SIDE))

    @cached_property
    def _carriers(self) -> tuple[np.ndarray, np.ndarray]:
        """Body vertices near each template vertex and their weights."""
        distance, near = cKDTree(self.solid.vertices).query(self.template.vertices, k=CARRIERS)
        weight = 1 / (distance + 1e-4) ** 2
        return near, weight / weight.sum(1, keepdims=True)


def _between_nodes(lattice: Float[np.ndarray, "n c"], points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p c"]:
    """Trilinear values of a lattice over the canonical cube, of which each column is one number of all nodes."""
    index = (points / SIDE + 0.5).T * (LATTICE_NODES - 1)
    columns = lattice.T.reshape(-1, LATTICE_NODES, LATTICE_NODES, LATTICE_NODES)
    return np.stack([map_coordinates(column, index, order=1, mode="nearest") for column in columns], axis=1)
