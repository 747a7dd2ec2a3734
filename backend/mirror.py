# SPDX-License-Identifier: Apache-2.0
"""The other half of the face: which surface point lies opposite each vertex, across the canonical plane x = 0."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from backend.mesh import vertex_normals
from backend.template import closest_barycentric

CANDIDATES = 12  # Triangles with near centres, searched for the closest point.
LIMIT = 0.1  # Distance of the surface from the mirrored point at which the opposite point counts nothing, radii.
STRETCH = 2.5  # Edges that grow or shrink more than this across the mirror count nothing.


@dataclass(frozen=True)
class MirrorImage:
    """For each vertex the opposite surface point.

    Args:
        corners: Vertices of the triangle that the point lies on.
        weights: Barycentric weights of those vertices.
        trust: 1 where the surface is symmetric, 0 where no surface lies opposite.
    """

    corners: Int[np.ndarray, "v 3"]
    weights: Float[np.ndarray, "v 3"]
    trust: Float[np.ndarray, "v"]

    def carry(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "v c"]:
        """Vertex values as they are at the opposite points."""
        return np.einsum("vk,vkc->vc", self.weights, values[self.corners])


def mirror_image(canonical: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> MirrorImage:
    """Finds the surface point closest to each mirrored vertex.

    Args:
        canonical: Positions in a space where faces are symmetric across x = 0.
        faces: Welded or split at UV seams.
    """
    flip = np.array([-1.0, 1.0, 1.0])
    targets = canonical.astype(np.float64) * flip
    face, weights, distance = closest_points(targets, canonical.astype(np.float64), faces)
    corners = faces[face]
    radius = float(np.linalg.norm(np.ptp(canonical, axis=0)) / 2)
    trust = np.clip(1 - (distance / (LIMIT * radius)) ** 2, 0, 1)
    normals = vertex_normals(canonical, faces).astype(np.float64)
    opposite = np.einsum("vk,vkc->vc", weights, normals[corners])
    trust *= np.clip(np.einsum("vc,vc->v", opposite, normals * flip) * 2 - 0.5, 0, 1)
    image = MirrorImage(corners, weights, trust)
    return MirrorImage(corners, weights, trust * _is_unstretched(image, canonical, faces))


def _is_unstretched(
    image: MirrorImage, canonical: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v"]:
    """1 where all edges at a vertex keep about their length, else 0."""
    there = image.carry(canonical.astype(np.float64))
    is_kept = np.ones(len(canonical))
    for corner in range(3):
        start, end = faces[:, corner], faces[:, (corner + 1) % 3]
        before = np.linalg.norm(canonical[start] - canonical[end], axis=1)
        after = np.linalg.norm(there[start] - there[end], axis=1)
        is_bad = (after > STRETCH * before) | (before > STRETCH * after)
        is_kept[start[is_bad]] = 0.0
        is_kept[end[is_bad]] = 0.0
    return is_kept


def closest_points(
    points: Float[np.ndarray, "n 3"], vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """The closest point of a mesh for each point, among the triangles with the nearest centres.

    Returns:
        The triangle, the barycentric weights of its corners, and the distance.
    """
    corners = vertices[faces]
    count = min(CANDIDATES, len(faces))
    _, near = cKDTree(corners.mean(axis=1)).query(points, k=np.arange(1, count + 1))
    best, best_weights = near[:, 0], np.zeros((len(points), 3))
    best_distance = np.full(len(points), np.inf)
    for candidate in near.T:
        weights = closest_barycentric(points, corners[candidate])
        distance = np.linalg.norm(np.einsum("nk,nkc->nc", weights, corners[candidate]) - points, axis=1)
        is_better = distance < best_distance
        best = np.where(is_better, candidate, best)
        best_weights[is_better] = weights[is_better]
        best_distance = np.where(is_better, distance, best_distance)
    return best, best_weights, best_distance
