# SPDX-License-Identifier: Apache-2.0
"""Teeth, gums and tongue behind the lips (MakeHuman, CC0); they move with the jaw as ICT-FaceKit's lower teeth do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components

from backend.training.ict import jaw_moves
from backend.training.makehuman import MakeHuman, Proxy, fit_proxy

TOOTH, GUM, TONGUE = 0, 1, 2
# Where upper and lower teeth meet on the rest mesh, decimetres: depth to height.
BITE = ((0.70, 6.80), (1.03, 6.724), (1.11, 6.703), (1.20, 6.686), (1.27, 6.668), (1.33, 6.648), (1.43, 6.620))
TEETH_DOWN_DM = 0.02  # MakeHuman's upper teeth end behind the lip; people's show a little below it.
HINGE_DM = (0.75, 0.95)  # Gums behind follow the jaw less and less.
# The tongue's tip goes this far at ``tongueOut`` 1; its root stays.
TONGUE_OUT_DM = np.array([0.0, 0.06, 0.38])
TONGUE_DEPTH_DM = (0.70, 1.38)
SRGB = {TOOTH: (0.86, 0.83, 0.76), GUM: (0.62, 0.30, 0.29), TONGUE: (0.66, 0.33, 0.33)}


@dataclass(frozen=True)
class Mouth:
    """What is behind the lips of every head.

    Args:
        proxies: Teeth with gums, and the tongue; their vertices follow each other.
        faces: Triangles.
        kind: Of each triangle: ``TOOTH``, ``GUM`` or ``TONGUE``.
        jaw: Share of each vertex that follows the jaw, 0 to 1.
        tip: Share of each vertex that follows the tongue's tip, 0 to 1.
        moves: From ``ict.jaw_moves``.
    """

    proxies: tuple[Proxy, ...]
    faces: Int[np.ndarray, "f 3"]
    kind: Int[np.ndarray, "f"]
    jaw: Float[np.ndarray, "v"]
    tip: Float[np.ndarray, "v"]
    moves: dict[str, Float[np.ndarray, "4 3"]]

    def place(self, base_dm: Float[np.ndarray, "19158 3"], expression: Mapping[str, float]) -> Float[np.ndarray, "v 3"]:
        """Vertices in the mouth of a head, decimetres.

        Args:
            base_dm: The head at rest, without its expression.
            expression: ARKit names and weights; those that move neither jaw nor tongue are ignored.
        """
        rest = np.concatenate([fit_proxy(proxy, base_dm) for proxy in self.proxies])
        rest[:, 1] -= TEETH_DOWN_DM
        whole = np.column_stack([rest, np.ones(len(rest))])
        placed = rest.copy()
        for name, move in self.moves.items():
            placed += expression.get(name, 0.0) * self.jaw[:, None] * (whole @ move)
        return placed + expression.get("tongueOut", 0.0) * self.tip[:, None] * TONGUE_OUT_DM

    @property
    def colors(self) -> Float[np.ndarray, "f 3"]:
        """sRGB of each triangle in [0, 1]."""
        return np.array([SRGB[kind] for kind in (TOOTH, GUM, TONGUE)])[self.kind]


def load_mouth(makehuman: MakeHuman, ict: Path) -> Mouth:
    """The mouth of MakeHuman's base mesh.

    Args:
        makehuman: The assets.
        ict: The ICT-FaceKit archive.
    """
    teeth, tongue = makehuman.teeth, makehuman.tongue
    base = makehuman.base.vertices
    rest, tongue_rest = fit_proxy(teeth, base), fit_proxy(tongue, base)
    piece = _pieces(teeth)
    gums = np.bincount(piece).argmax()
    above = rest[:, 1] - np.interp(rest[:, 2], *np.transpose(BITE))
    mean = np.bincount(piece, above) / np.bincount(piece)
    is_lower = np.where(piece == gums, above < 0, mean[piece] < 0)
    reach = np.clip((rest[:, 2] - HINGE_DM[0]) / (HINGE_DM[1] - HINGE_DM[0]), 0, 1)
    jaw = np.where(piece == gums, is_lower * reach, is_lower)
    kind = np.where(piece[teeth.mesh.faces[:, 0]] == gums, GUM, TOOTH)
    deep, front = TONGUE_DEPTH_DM
    tip = np.clip((tongue_rest[:, 2] - deep) / (front - deep), 0, 1) ** 2
    return Mouth(
        proxies=(teeth, tongue),
        faces=np.concatenate([teeth.mesh.faces, tongue.mesh.faces + len(rest)]),
        kind=np.concatenate([kind, np.full(len(tongue.mesh.faces), TONGUE)]),
        jaw=np.concatenate([jaw, np.ones(len(tongue_rest))]),
        tip=np.concatenate([np.zeros(len(rest)), tip]),
        moves=jaw_moves(makehuman, ict),
    )


def _pieces(proxy: Proxy) -> Int[np.ndarray, "p"]:
    """Number of the connected piece that each vertex belongs to."""
    edges = np.concatenate([proxy.mesh.faces[:, :2], proxy.mesh.faces[:, 1:]])
    size = len(proxy.mesh.vertices)
    graph = sp.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)
