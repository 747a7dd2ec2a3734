# SPDX-License-Identifier: Apache-2.0
"""The template head: a canonical surface, linear shape and expression bases, and how they carry the space around it.

Canonical space is the mean head with slightly parted lips. A code ``(shape, expression)`` moves each template vertex
linearly; a point of the field follows the template triangle it lies on, or, off the surface, the template vertices
around it. The forward map is therefore linear in the codes, so that morph targets are exact. Neck and head turn last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from backend.landmark_errors import LandmarkErrors
from backend.skeleton import POSE_SIZE, Skeleton

# Nearer to the skin than the first distance a point follows its triangle, beyond the second the vertices around it.
ON_SURFACE_M = (0.003, 0.012)
NEIGHBOURS = 24
CANDIDATE_VERTICES = 5
LONGEST_EDGE_M = 0.018
LATTICE_NODES = 48
# Which points follow the lid alone: those with so much of it in a triangle between lid and eyeball, and those that
# stand so far off from the eyeball and so near to the lid.
LID_SHARE = 0.2
OFF_EYE_M = 0.00025
CREASE_M = 0.002
INVERSE_STEPS = 8
POSED_INVERSE_STEPS = 30


@dataclass(frozen=True)
class Template:
    """Closed-form part of the starter generator.

    Args:
        vertices: Canonical positions, metres.
        faces: Triangles, counter-clockwise from outside.
        mirror: The vertex across x = 0.
        neutral: From canonical to the mean head with closed lips.
        shape: Offsets per standard deviation of each shape code.
        expression: Offsets at value 1 of each expression.
        expression_names: ARKit names.
        landmark_faces: Template triangle of each face-mesh landmark.
        landmark_weights: Barycentric weights there.
        landmark_noise: Standard deviation of each landmark's position, metres.
        skeleton: Where neck and head turn.
        joint_shares: Share of each vertex that goes with the neck and with the head; none where the head is stiff.
        landmark_errors: How detected landmarks lie off these points; None where it was never measured.
        on_eye: Which vertices lie on the eyeballs, under lids that slide; None where nothing slides.
    """

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "f 3"]
    mirror: Int[np.ndarray, "n"]
    neutral: Float[np.ndarray, "n 3"]
    shape: Float[np.ndarray, "k n 3"]
    expression: Float[np.ndarray, "e n 3"]
    expression_names: tuple[str, ...]
    landmark_faces: Int[np.ndarray, "m"]
    landmark_weights: Float[np.ndarray, "m 3"]
    landmark_noise: Float[np.ndarray, "m"]
    skeleton: Skeleton = field(default_factory=Skeleton)
    joint_shares: Float[np.ndarray, "_ 2"] = field(default_factory=lambda: np.zeros((0, 2)))
    landmark_errors: LandmarkErrors | None = None
    on_eye: Bool[np.ndarray, "n"] | None = None

    def offsets(self, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]) -> Float[np.ndarray, "n 3"]:
        """How far a code moves each template vertex from its canonical place, metres."""
        return self.neutral + np.tensordot(shape, self.shape, 1) + np.tensordot(expression, self.expression, 1)

    def landmarks(
        self, vertices: Float[np.ndarray, "*b n 3"], numbers: slice | Sequence[int] = slice(None)
    ) -> Float[np.ndarray, "*b m 3"]:
        """Landmarks, all or some, of heads whose template vertices lie there; of vertices' offsets, their own."""
        corners = vertices[..., self.faces[self.landmark_faces[numbers]], :]
        return np.einsum("mc,...mci->...mi", self.landmark_weights[numbers], corners)

    def place(
        self,
        points: Float[np.ndarray, "p 3"],
        binding: sp.csr_matrix,
        vertex_offsets: Float[np.ndarray, "n 3"],
        pose: Float[np.ndarray, "6"],
    ) -> Float[np.ndarray, "p 3"]:
        """Canonical points on a head that is shaped first and then posed.

        Args:
            points: Canonical, metres.
            binding: Of the points.
            vertex_offsets: From ``offsets``.
            pose: Of neck and head, radians; see ``skeleton``.
        """
        shaped = points + binding @ vertex_offsets
        return self.skeleton.place(shaped, self.point_shares(binding), pose)

    def point_shares(self, binding: sp.csr_matrix) -> Float[np.ndarray, "p 2"]:
        """Share of each bound point that goes with the neck and with the head."""
        return binding @ self.joint_shares if len(self.joint_shares) else np.zeros((binding.shape[0], 2))

    def binding(self, points: Float[np.ndarray, "p 3"]) -> sp.csr_matrix:
        """Weights ``(p, n)`` by which canonical points follow the template vertices; each row adds up to 1."""
        distance, near = self._tree.query(points, k=NEIGHBOURS)
        width = 0.006 + 0.6 * distance[:, :1]
        around = np.exp(-0.5 * (distance / width) ** 2)
        around /= around.sum(1, keepdims=True)
        low, high = ON_SURFACE_M
        reachable = np.flatnonzero(distance[:, 0] < high + LONGEST_EDGE_M)
        face, weights, gap = np.zeros(len(points), np.int64), np.zeros((len(points), 3)), np.full(len(points), np.inf)
        face[reachable], weights[reachable], gap[reachable] = self.closest(points[reachable])
        corners, weights = self._one_sided(points, self.faces[face], weights, gap)
        blend = np.clip((gap - low) / (high - low), 0, 1)
        blend = blend * blend * (3 - 2 * blend)
        rows = np.arange(len(points))
        count = len(self.vertices)
        surface = sp.csr_matrix(
            (((1 - blend)[:, None] * weights).ravel(), (np.repeat(rows, 3), corners.ravel())),
            shape=(len(points), count),
        )
        space = sp.csr_matrix(
            ((blend[:, None] * around).ravel(), (np.repeat(rows, NEIGHBOURS), near.ravel())), shape=(len(points), count)
        )
        return (surface + space).tocsr()

    def _one_sided(
        self,
        points: Float[np.ndarray, "p 3"],
        corners: Int[np.ndarray, "p 3"],
        weights: Float[np.ndarray, "p 3"],
        gap: Float[np.ndarray, "p"],
    ) -> tuple[Int[np.ndarray, "p 3"], Float[np.ndarray, "p 3"]]:
        """Corners and weights with which a point follows the lid or the eyeball, never both.

        A closing lid would drag a fringe of all that lies between. A mesh rounds the crease off: what stands off from
        the eyeball there is lid.
        """
        if self.on_eye is None:
            return corners, weights
        lid = np.where(self.on_eye[corners], 0.0, weights)
        is_lid = lid.sum(1) > LID_SHARE
        chosen = np.where(is_lid[:, None], lid, weights - lid)
        chosen /= np.maximum(chosen.sum(1, keepdims=True), 1e-30)
        off_eye = np.flatnonzero(~is_lid & (gap > OFF_EYE_M))
        skin = np.flatnonzero(~self.on_eye)
        distance, nearest = cKDTree(self.vertices[skin]).query(points[off_eye])
        in_crease = distance < CREASE_M
        corners[off_eye[in_crease], 0] = skin[nearest[in_crease]]
        chosen[off_eye[in_crease]] = (1.0, 0.0, 0.0)
        return corners, chosen

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.vertices)

    @cached_property
    def lattice_bindings(self) -> dict[float, sp.csr_matrix]:
        """What ``lattice_binding`` has made, by the side of the cube."""
        return {}

    @cached_property
    def _fans(self) -> sp.csr_matrix:
        """Which triangles ``(n, f)`` touch each vertex."""
        rows = self.faces.ravel()
        columns = np.repeat(np.arange(len(self.faces)), 3)
        shape = (len(self.vertices), len(self.faces))
        return sp.csr_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=shape)

    def closest(
        self, points: Float[np.ndarray, "p 3"]
    ) -> tuple[Int[np.ndarray, "p"], Float[np.ndarray, "p 3"], Float[np.ndarray, "p"]]:
        """Nearest triangle among those around the nearest vertices, barycentric weights there, and the distance."""
        _, near = self._tree.query(points, k=CANDIDATE_VERTICES)
        rows = np.repeat(np.arange(len(points)), CANDIDATE_VERTICES)
        shape = (len(points), len(self.vertices))
        chosen = sp.csr_matrix((np.ones(len(rows), np.int8), (rows, near.ravel())), shape=shape)
        pairs = chosen @ self._fans
        point = np.repeat(np.arange(len(points)), np.diff(pairs.indptr))
        corners = self.vertices[self.faces[pairs.indices]]
        weights = closest_barycentric(points[point], corners)
        distance = np.linalg.norm(points[point] - (weights[..., None] * corners).sum(1), axis=1)
        order = np.lexsort((distance, point))
        best = order[pairs.indptr[:-1]]
        return pairs.indices[best].astype(np.int64), weights[best], distance[best]


def closest_barycentric(
    points: Float[np.ndarray, "p 3"], corners: Float[np.ndarray, "p 3 3"]
) -> Float[np.ndarray, "p 3"]:
    """Weights of the point of each triangle that is nearest to each point; never negative, sum 1.

    Source:
        Ericson 2004, Real-Time Collision Detection, section 5.1.5.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac = b - a, c - a
    dots = [np.einsum("pi,pi->p", edge, points - corner) for corner in (a, b, c) for edge in (ab, ac)]
    d1, d2, d3, d4, d5, d6 = dots
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    inner = np.maximum(va + vb + vc, 1e-30)
    weights = np.stack([va, vb, vc], axis=1) / inner[:, None]

    def along(share: np.ndarray, first: int, second: int, where: np.ndarray) -> None:
        edge = np.zeros_like(weights)
        edge[:, first], edge[:, second] = 1 - share, share
        weights[where] = edge[where]

    with np.errstate(divide="ignore", invalid="ignore"):
        along(np.nan_to_num(d1 / (d1 - d3)), 0, 1, (vc <= 0) & (d1 >= 0) & (d3 <= 0))
        along(np.nan_to_num(d2 / (d2 - d6)), 0, 2, (vb <= 0) & (d2 >= 0) & (d6 <= 0))
        along(np.nan_to_num((d4 - d3) / ((d4 - d3) + (d5 - d6))), 1, 2, (va <= 0) & (d4 >= d3) & (d5 >= d6))
    for corner, where in enumerate(((d1 <= 0) & (d2 <= 0), (d3 >= 0) & (d4 <= d3), (d6 >= 0) & (d5 <= d6))):
        weights[where] = np.eye(3)[corner]
    return weights


@dataclass(frozen=True)
class Deformation:
    """One head's map between canonical and world space.

    Args:
        template: The template.
        vertex_offsets: From ``Template.offsets``.
        side: Edge of the cube in which ``to_canonical`` works, metres.
        pose: Of neck and head, radians.
    """

    template: Template
    vertex_offsets: Float[np.ndarray, "n 3"]
    side: float
    pose: Float[np.ndarray, "6"] = field(default_factory=lambda: np.zeros(POSE_SIZE))

    def to_world(
        self, points: Float[np.ndarray, "p 3"], binding: sp.csr_matrix | None = None
    ) -> Float[np.ndarray, "p 3"]:
        """Where canonical points lie on this head; pass the points' binding when it is at hand."""
        weights = self.template.binding(points) if binding is None else binding
        return self.template.place(points, weights, self.vertex_offsets, self.pose)

    def to_canonical(self, points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
        """The inverse of ``to_world`` by fixed-point iteration on a lattice of offsets, right to a few millimetres."""
        canonical = points.copy()
        for _ in range(INVERSE_STEPS if not self.pose.any() else POSED_INVERSE_STEPS):
            canonical += 0.8 * (points - self._lattice_offsets(canonical) - canonical)
        return canonical

    def _lattice_offsets(self, points: np.ndarray) -> np.ndarray:
        index = (points / self.side + 0.5).T * (LATTICE_NODES - 1)
        return np.stack(
            [map_coordinates(self.lattice[..., axis], index, order=1, mode="nearest") for axis in range(3)], axis=1
        )

    @cached_property
    def lattice(self) -> Float[np.ndarray, "x y z 3"]:
        """How far the nodes of an even lattice over the canonical cube are carried, metres."""
        nodes = _lattice_nodes(self.side)
        placed = self.to_world(nodes, lattice_binding(self.template, self.side))
        return (placed - nodes).reshape((LATTICE_NODES,) * 3 + (3,))


def _lattice_nodes(side: float) -> Float[np.ndarray, "p 3"]:
    axis = np.linspace(-side / 2, side / 2, LATTICE_NODES)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def lattice_binding(template: Template, side: float) -> sp.csr_matrix:
    """The binding of the deformation lattice's nodes, made once for each template and side of the cube."""
    if side not in template.lattice_bindings:
        template.lattice_bindings[side] = template.binding(_lattice_nodes(side))
    return template.lattice_bindings[side]
