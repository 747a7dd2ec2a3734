# SPDX-License-Identifier: Apache-2.0
"""What a finished mesh is like by itself: closed, in one piece, free of knots, its texture well used and seamless."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from backend.mesh import Mesh, mesh_quality, weld
from backend.raycast import Caster, sample_bilinear

# A ray starts and ends this share of its edge inside, away from the neighbours of the edge's ends.
EDGE_MARGIN = 1e-3


def mesh_report(mesh: Mesh, texture: UInt8[np.ndarray, "t t 3"]) -> dict[str, float]:
    """Counts and shares; see the functions below and ``mesh.mesh_quality``.

    Args:
        mesh: With uv.
        texture: For its uv.
    """
    quality = mesh_quality(mesh)
    return {
        "mesh_open": float(not quality["watertight"]),
        "mesh_components": float(quality["components"]),
        "mesh_degenerate": float(quality["degenerate"]),
        "mesh_crossings": float(crossing_edges(*weld(mesh))),
        "uv_area": uv_area(mesh),
        "seam_jump": seam_jump(mesh, texture),
    }


def crossing_edges(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> int:
    """How many edges run through a triangle that they do not touch: two triangles cross where an edge of one does.

    Only the first triangle on each edge's way is looked at, so a knot may count less than all of its edges.
    """
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges = np.unique(pairs, axis=0)
    start, end = vertices[edges[:, 0]].astype(np.float64), vertices[edges[:, 1]].astype(np.float64)
    edges, start, way = edges[(start != end).any(1)], start[(start != end).any(1)], (end - start)[(start != end).any(1)]
    triangle, _, distance = Caster(vertices, faces).first_hit(start + EDGE_MARGIN * way, way)
    reached = (triangle >= 0) & (distance < (1 - 2 * EDGE_MARGIN) * np.linalg.norm(way, axis=1))
    touches = (faces[triangle][:, :, None] == edges[:, None, :]).any((1, 2))
    return int((reached & ~touches).sum())


def uv_area(mesh: Mesh) -> float:
    """Percent of the texture that triangles cover, counted once for each."""
    uv = _uv(mesh)[mesh.faces]
    first, second = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return float(50 * np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum())


def seam_jump(mesh: Mesh, texture: UInt8[np.ndarray, "t t 3"]) -> float:
    """Mean difference of colour between the copies that a seam makes of a vertex, of 255; 0 without seams."""
    uv = _uv(mesh).astype(np.float64) * len(texture)
    colors = sample_bilinear(texture, uv[:, 0], uv[:, 1])
    _, place, count = np.unique(mesh.vertices, axis=0, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    mean = np.stack([np.bincount(place, channel) for channel in colors.T], axis=1) / count[:, None]
    # Two copies lie on both sides of their mean, so the jump is twice the distance to it.
    on_seam = count[place] > 1
    return float(2 * np.abs(colors - mean[place])[on_seam].mean()) if on_seam.any() else 0.0


def _uv(mesh: Mesh) -> Float[np.ndarray, "v 2"]:
    if mesh.uv is None:
        raise ValueError("a mesh report needs a mesh with uv")
    return mesh.uv
