# SPDX-License-Identifier: Apache-2.0
"""Hair in portraits: the generator's solid hair, with single strands at its ends, on the skin and against the light."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from backend.mesh import vertex_normals
from backend.raycast import Caster
from backend.training.appearance import Appearance
from backend.training.blend import blended
from backend.training.body_piece import dual_edges
from backend.training.canonical import sample_lattice
from backend.training.hair import CURLY_STYLES, SKULL_CENTRE, fine_strands, hair_color, hair_flow, strand_noise
from backend.training.light import linear_from_srgb
from backend.training.paint import smooth_step
from backend.training.pieces import HAIR
from backend.training.solid import SIDE
from backend.training.subject import DOWN, Hits, Surface
from backend.training.subject import HAIR as HAIR_KIND

BURIED_M = 0.0022  # Hair that is nowhere further from the skin than this is left out; the scalp is tinted anyway.
SMALLEST_SHARE = 0.02  # Loose pieces smaller than this share of all triangles are left out.
# Strands end up to so far before the hair's ends, seen so deep below its surface.
RAGGED_M, DEEP_M = 0.009, 0.004
ROOTS_M = (0.0016, 0.0022)  # Hair nearer to the skin than the first is none, the second is how much strands differ.
DOWN_M = 0.006  # Hair nearer to the skin than this casts no shadow on it.
RIM_THICKNESS_M, STEP_M = 0.010, 0.0005  # The outline is loose where hair is thinner than this.
RIM = 0.24  # Cosine between normal and view below which the hair's outline is loose.
LOCK_TILT, LEAN_RAD = 0.30, 0.10
SHINE = 0.05


@dataclass(frozen=True)
class HairShell:
    """The surface of a head's hair in canonical space.

    Args:
        vertices: Metres.
        faces: Triangles.
        distance: Signed distance of the hair on the lattice over the canonical cube, metres.
        body: The same of the body.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    distance: Float[np.ndarray, "r r r"]
    body: Float[np.ndarray, "r r r"]


def hair_shell(distance: Float[np.ndarray, "r r r"], body: Float[np.ndarray, "r r r"]) -> HairShell | None:
    """What can be seen of the hair; None if there is nothing."""
    if not (distance < 0).any():
        return None
    spacing = SIDE / (distance.shape[0] - 1)
    vertices, faces, _, _ = marching_cubes(distance, 0.0, spacing=(spacing,) * 3, gradient_direction="descent")
    vertices = vertices - SIDE / 2
    faces = faces[(sample_lattice(body, vertices) > BURIED_M)[faces].any(1)]
    if not len(faces):
        return None
    faces = faces[_is_large_piece(faces, len(vertices))]
    used, local = np.unique(faces, return_inverse=True)
    return HairShell(vertices[used], local.reshape(-1, 3), distance, body)


def _is_large_piece(faces: Int[np.ndarray, "f 3"], count: int) -> np.ndarray:
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = sp.coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    piece = connected_components(graph, directed=False)[1][faces[:, 0]]
    return (np.bincount(piece) > SMALLEST_SHARE * len(faces))[piece]


class HairPiece:
    """One person's hair.

    Args:
        shell: Its shape.
        vertices: The shell's vertices in the world, metres.
        appearance: Its colour.
        style_name: A MakeHuman hair.
    """

    bake_spacing = 0.009

    def __init__(
        self, shell: HairShell, vertices: Float[np.ndarray, "v 3"], appearance: Appearance, style_name: str
    ) -> None:
        self._shell, self._appearance, self._style = shell, appearance, style_name
        self.vertices, self.canonical, self.faces = vertices, shell.vertices, shell.faces
        self.part = np.full(len(shell.faces), HAIR)
        is_down = sample_lattice(shell.body, shell.vertices)[shell.faces].max(1) < DOWN_M
        self.kind = np.where(is_down, DOWN, HAIR_KIND)
        places = [shell.vertices, vertex_normals(shell.vertices, shell.faces)]
        self._places = np.concatenate(places, axis=1).astype(np.float32)
        self._corners = shell.faces.astype(np.int32)

    def surface(self, hits: Hits) -> Surface:
        """Strands at hits, lit along their flow, with gaps between them where the hair is thin."""
        found = blended(self._places, self._corners.take(hits.triangle, axis=0), hits.barycentric)
        points, normals = np.asfortranarray(found[:, :3]), np.asfortranarray(found[:, 3:])
        flow = hair_flow(points, normals, self._style)
        fine = fine_strands(points, self._style)
        locks = strand_noise(points, self._style)
        color = hair_color(self._appearance, points, self._style, locks) * (1 + 0.12 * fine[:, None])
        strand = self._to_world(flow, hits.triangle)
        lean = LEAN_RAD * (fine + locks) * (6.0 if self._style in CURLY_STYLES else 1.0)
        tilt = LOCK_TILT * locks[:, None] * np.cross(hits.normals, strand)
        return Surface(
            linear_from_srgb(np.clip(color, 0, 1).astype(np.float32)),
            np.full(len(points), SHINE, np.float32),
            tilt.astype(np.float32),
            self._opacity(hits, points, fine=fine, locks=locks),
            (np.arange(len(points)), strand.astype(np.float32), lean.astype(np.float32)),
        )

    def _to_world(self, flow: Float[np.ndarray, "n 3"], triangle: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n 3"]:
        """Canonical directions in the triangles' planes, as the head carries them."""
        carried = np.einsum("nwc,nc->nw", self._turns.take(triangle, axis=0), flow.astype(np.float32))
        return carried / np.sqrt(np.einsum("nc,nc->n", carried, carried)).clip(1e-9)[:, None]

    @cached_property
    def _turns(self) -> Float[np.ndarray, "f 3 3"]:
        """What carries canonical directions in each triangle's plane to the world."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        first, second = dual_edges(self._shell.vertices, self._shell.faces)
        turns = (a - c)[:, :, None] * first[:, None] + (b - c)[:, :, None] * second[:, None]
        return turns.astype(np.float32)

    def _opacity(
        self, hits: Hits, points: Float[np.ndarray, "n 3"],
        *, fine: Float[np.ndarray, "n"], locks: Float[np.ndarray, "n"],
    ) -> Float[np.ndarray, "n"]:  # fmt: skip
        # The hair's flow over the skull, which does not turn where the hair is cut off as its surface does.
        outwards = points - SKULL_CENTRE
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True).clip(1e-6)
        ahead = points + RAGGED_M * hair_flow(points, outwards, self._style) - DEEP_M * outwards
        # Length of each strand, as a share of how much strands differ.
        length = np.clip(0.45 + 0.5 * fine + 0.45 * locks, 0, 1) * (self._style not in CURLY_STYLES)
        to_end = RAGGED_M - sample_lattice(self._shell.distance, ahead)
        ends = smooth_step(to_end - RAGGED_M * length, -0.002, 0.001)
        above_skin = sample_lattice(self._shell.body, points)
        thinnest, spread = ROOTS_M
        roots = smooth_step(above_skin - spread * np.clip(0.5 + 0.75 * fine, 0, 1), thinnest, thinnest + 0.002)
        return (ends * roots * self._rim(hits, fine)).astype(np.float32)

    def _rim(self, hits: Hits, fine: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Loose strands where thin hair is seen edge-on with no more hair behind it."""
        length = np.clip(0.5 + 0.75 * fine, 0, 1)
        facing = np.abs(np.einsum("nc,nc->n", hits.normals, hits.to_camera))
        rim = smooth_step(facing, RIM * length - 0.06, RIM * length + 0.14)
        loose = np.flatnonzero(rim < 1)
        ahead = -hits.to_camera.take(loose, axis=0)
        inside = hits.points.take(loose, axis=0) + STEP_M * ahead
        _, _, through = self._caster.first_hit(inside, ahead)
        beyond = inside + (np.minimum(through, 1.0) + STEP_M)[:, None] * ahead
        hidden = (through > RIM_THICKNESS_M) | self._caster.is_blocked(beyond, ahead, np.inf)
        rim[loose[hidden]] = 1
        return rim

    @cached_property
    def _caster(self) -> Caster:
        return Caster(self.vertices, self.faces)
