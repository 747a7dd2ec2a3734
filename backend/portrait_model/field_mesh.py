# SPDX-License-Identifier: Apache-2.0
"""A mesh that follows a generator's field as its codes change, with the vertices that it has.

A volume without template says nothing of which point becomes which. Each vertex goes along its normal to where the
moved field has the same density, and so much of that way is taken as the field's own move: what smoothing and
reduction changed on the mesh stays.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csr_matrix, diags

from backend.field import Field
from backend.mesh import Mesh, directed_edges, vertex_normals

REACH_M = 0.02  # A vertex goes no further; beyond it the surface there is another one.
COARSE_STEPS = 16
HALVINGS = 5
SPREAD_STEPS, SMOOTH_STEPS = 40, 3


@dataclass(frozen=True)
class FieldMesh:
    """A mesh of a field.

    Args:
        surface: In canonical space, with copies at UV seams or without.
        field: That was meshed, at its level.
        metres_per_unit: Of canonical space.
    """

    surface: Mesh
    field: Field
    metres_per_unit: float

    def moved_to(self, field: Field) -> Float[np.ndarray, "v 3"]:
        """The vertices on another head's field."""
        places, first, index = np.unique(self.surface.vertices, axis=0, return_index=True, return_inverse=True)
        faces = index.reshape(-1)[self.surface.faces]
        normals = vertex_normals(places, faces)
        move = self._move(field, places, normals)
        neighbours = _neighbour_mean(len(first), faces)
        smooth = _smoothed(_spread(move, neighbours), neighbours)
        return (places + smooth[:, None] * normals)[index.reshape(-1)].astype(np.float32)

    def _move(
        self, field: Field, places: Float[np.ndarray, "w 3"], normals: Float[np.ndarray, "w 3"]
    ) -> Float[np.ndarray, "w"]:
        """How far the level goes along each normal, canonical units; NaN where it is not found."""
        reach = REACH_M / self.metres_per_unit
        level = self.field.level
        return _crossing(field, places, normals, reach, level) - _crossing(self.field, places, normals, reach, level)


@torch.no_grad()
def _crossing(
    field: Field, places: Float[np.ndarray, "w 3"], normals: Float[np.ndarray, "w 3"], reach: float, level: float
) -> Float[np.ndarray, "w"]:
    """Where along each normal the density falls below the level, nearest to its foot; NaN where it does not."""

    def is_inside(way: Float[np.ndarray, "n"], rows: Int[np.ndarray, "n"]) -> np.ndarray:
        points = torch.from_numpy((places[rows] + way[:, None] * normals[rows]).astype(np.float32))
        return field.density(points).cpu().numpy() >= level

    ways = np.linspace(-reach, reach, COARSE_STEPS + 1)
    everyone = np.arange(len(places))
    inside = np.stack([is_inside(np.full(len(places), way), everyone) for way in ways], axis=1)
    leaves = inside[:, :-1] & ~inside[:, 1:]
    nearness = np.where(leaves, np.abs((ways[1:] + ways[:-1]) / 2), np.inf)
    rows = np.flatnonzero(leaves.any(axis=1))
    step = nearness[rows].argmin(axis=1)
    low, high = ways[step], ways[step + 1]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inner = is_inside(middle, rows)
        low, high = np.where(inner, middle, low), np.where(inner, high, middle)
    crossing = np.full(len(places), np.nan)
    crossing[rows] = (low + high) / 2
    return crossing


def _neighbour_mean(count: int, faces: Int[np.ndarray, "f 3"]) -> csr_matrix:
    start, end = directed_edges(faces)
    links = coo_matrix((np.ones(len(start)), (start, end)), shape=(count, count)).tocsr()
    return diags(1 / np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1)) @ links


def _spread(move: Float[np.ndarray, "w"], neighbours: csr_matrix) -> Float[np.ndarray, "w"]:
    """Unknown moves from known ones around them; 0 far from any."""
    known = np.isfinite(move)
    values, weight = np.where(known, move, 0.0), known.astype(np.float64)
    for _ in range(SPREAD_STEPS):
        total, around = neighbours @ (values * weight), neighbours @ weight
        mixed = np.divide(total, around, out=np.zeros_like(values), where=around > 0)
        values, weight = np.where(known, values, mixed), np.where(known, 1.0, around)
    return values


def _smoothed(move: Float[np.ndarray, "w"], neighbours: csr_matrix) -> Float[np.ndarray, "w"]:
    for _ in range(SMOOTH_STEPS):
        move = (move + neighbours @ move) / 2
    return move
