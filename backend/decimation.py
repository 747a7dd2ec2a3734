# SPDX-License-Identifier: Apache-2.0
"""Fewer triangles for a closed mesh, which stays closed; the only door to the decimation library."""

from collections.abc import Sequence

import fast_simplification
import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from backend.config import Focus
from backend.errors import ModelError
from backend.magnify import magnify, unmagnify
from backend.mesh import corner_fans, directed_edges, is_closed, is_manifold, largest_solid, signed_volume

# The error threshold starts at 1e-9 squared units and grows with this power of the round. At this size of the mesh the
# rounds sort the edges by error; in metres nearly all would fall below the first thresholds.
AGGRESSIVENESS = (4.0, 5.0, 7.0, 3.0, 2.0)
DECIMATION_SIZE = 200.0
APART = 0.02  # Of the way to the neighbours.

Triangles = tuple[Float[np.ndarray, "_ 3"], Int[np.ndarray, "_ 3"]]


def decimate(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, target: int, details: Sequence[Focus] = ()
) -> Triangles:
    """Reduce a closed manifold mesh to at most ``target`` faces; it stays closed, manifold and in one piece.

    Args:
        vertices: In any unit.
        faces: Triangles.
        target: The most faces.
        details: Errors are measured as if seen through these magnifying glasses: more triangles stay there.

    Raises:
        ModelError: No careful enough reduction keeps it so.

    Source:
        Garland and Heckbert 1997, Surface simplification using quadric error metrics.
    """
    if len(faces) <= target:
        return vertices, faces
    seen = magnify(vertices, details)
    scale = DECIMATION_SIZE / float(np.ptp(seen, axis=0).max())
    for aggressiveness in AGGRESSIVENESS:
        reduced, reduced_faces = fast_simplification.simplify(
            seen * scale, faces.astype(np.int32), target_count=target, agg=aggressiveness
        )
        if len(reduced_faces) > target:
            continue
        mended, mended_faces = mend(reduced / scale, reduced_faces.astype(np.int32))
        if not is_closed(mended_faces) or not is_manifold(mended_faces):
            continue
        near = cKDTree(seen).query(mended)[1] if details else np.arange(len(mended))
        solid, solid_faces = largest_solid(unmagnify(mended, details, vertices[near]), mended_faces)
        if signed_volume(solid, solid_faces) > 0.9 * signed_volume(vertices, faces):
            return solid, solid_faces
    raise ModelError(f"The head's surface cannot be reduced to {target} faces and stay closed. Choose more faces.")


def mend(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Triangles:
    """A closed mesh whose parts touch in edges or vertices, with these parts separated; no more faces than before.

    Faces without area and pairs of faces back to back go. Where more than two faces share an edge, what is around its
    ends is cut out, and each hole is closed towards its middle.
    """
    faces = _without_fins(faces)
    start, end = directed_edges(faces)
    edges, times = np.unique(np.sort(np.stack([start, end], axis=1), axis=1), axis=0, return_counts=True)
    pinched = np.zeros(len(vertices), dtype=bool)
    pinched[edges[times != 2]] = True
    if pinched.any():
        vertices, faces = _filled(*split_fans(vertices, faces[~pinched[faces].any(axis=1)]))
    return _set_apart(*split_fans(vertices, faces))


def _without_fins(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "g 3"]:
    while True:
        faces = faces[(faces != np.roll(faces, -1, axis=1)).all(axis=1)]
        _, kind, times = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True, return_counts=True)
        single = times[kind.reshape(-1)] == 1
        if single.all():
            return faces
        faces = faces[single]


def _filled(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Triangles:
    """Every hole gets a vertex in the middle of its border, joined to each of the border's edges."""
    start, end = directed_edges(faces)
    size = len(vertices)
    is_border = ~np.isin(start * size + end, end * size + start)
    start, end = start[is_border], end[is_border]
    links = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(size, size))
    _, hole = np.unique(connected_components(links, directed=False)[1][start], return_inverse=True)
    count = np.bincount(hole)
    middles = np.stack([np.bincount(hole, vertices[start, axis]) / count for axis in range(3)], axis=1)
    caps = np.stack([end, start, size + hole], axis=1)
    return np.concatenate([vertices, middles]), np.concatenate([faces, caps]).astype(np.int32)


def _set_apart(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Triangles:
    """Vertices at the same place move a little towards their own neighbours, or whoever welds would join them again."""
    _, place, times = np.unique(vertices.astype(np.float32), axis=0, return_inverse=True, return_counts=True)
    shared = times[place.reshape(-1)] > 1
    if not shared.any():
        return vertices, faces
    start, end = directed_edges(faces)
    near = shared[start]
    degree = np.maximum(np.bincount(start[near], minlength=len(vertices)), 1)
    total = [np.bincount(start[near], vertices[end[near], axis], minlength=len(vertices)) for axis in range(3)]
    apart = vertices + APART * (np.stack(total, axis=1) / degree[:, None] - vertices)
    return np.where(shared[:, None], apart, vertices), faces


def split_fans(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Triangles:
    """Give each fan around a vertex its own copy of it, so that parts that only touch come apart."""
    fans = corner_fans(faces)
    source = np.empty(int(fans.max(initial=-1)) + 1, dtype=np.int64)
    source[fans.ravel()] = faces.ravel()
    return vertices[source], fans.astype(np.int32)
