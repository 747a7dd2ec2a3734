# SPDX-License-Identifier: Apache-2.0
"""The triangle mesh that the stages hand on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; faces run counter-clockwise seen from outside.

    Args:
        vertices: World coordinates: +y up, the face looks along +z.
        faces: Vertex indices.
        normals: Unit outward vertex normals.
        uv: (0, 0) is the texture's top left corner as in glTF; seams split vertices.
        canonical: The same vertices in the generator's canonical space; equal to ``vertices`` for a
            generator without deformation.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"] | None = None
    uv: Float[np.ndarray, "v 2"] | None = None
    canonical: Float[np.ndarray, "v 3"] | None = None


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Area-weighted unit vertex normals; a vertex without area gets +z."""
    corners = vertices[faces].astype(np.float64)
    area_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((len(vertices), 3))
    for axis in range(3):
        normals[:, axis] = np.bincount(faces.ravel(), np.repeat(area_normals[:, axis], 3), minlength=len(vertices))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    unit[length[:, 0] == 0] = (0.0, 0.0, 1.0)
    return unit.astype(np.float32)


def seamless_normals(vertices: Float[np.ndarray, "v 3"], mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """Vertex normals, the same for all copies that UV seams make of a canonical vertex.

    Args:
        vertices: Where those of the mesh lie.
        mesh: Gives faces and canonical positions.
    """
    canonical = mesh.vertices if mesh.canonical is None else mesh.canonical
    _, first, place = np.unique(canonical, axis=0, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    return vertex_normals(vertices[first], place[mesh.faces])[place]


def signed_volume(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> float:
    """Volume of a closed mesh; positive when its faces run counter-clockwise seen from outside."""
    corners = vertices[faces].astype(np.float64)
    return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def weld(mesh: Mesh) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "f 3"]]:
    """Vertices and faces without the copies that UV seams make: vertices at the same place become one."""
    places, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    return places, index.reshape(-1)[mesh.faces]


def corner_fans(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f 3"]:
    """Which fan each corner belongs to: corners of one vertex whose faces hang together over shared edges.

    A vertex of a manifold mesh has exactly one fan.
    """
    start, end = directed_edges(faces)
    size = int(faces.max()) + 1 if len(faces) else 0
    start_corner = np.arange(3 * len(faces))
    end_corner = np.roll(start_corner.reshape(-1, 3), -1, axis=1).ravel()
    key = np.minimum(start, end) * size + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    first, second = order[:-1][np.diff(key[order]) == 0], order[1:][np.diff(key[order]) == 0]
    same_way = start[first] == start[second]
    partner_of_start = np.where(same_way, start_corner[second], end_corner[second])
    partner_of_end = np.where(same_way, end_corner[second], start_corner[second])
    rows = np.concatenate([start_corner[first], end_corner[first]])
    columns = np.concatenate([partner_of_start, partner_of_end])
    links = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(3 * len(faces), 3 * len(faces)))
    return connected_components(links, directed=False)[1].reshape(-1, 3)


def directed_edges(faces: Int[np.ndarray, "f 3"]) -> tuple[Int[np.ndarray, "e"], Int[np.ndarray, "e"]]:
    """Start and end vertex of every face's three edges, face by face."""
    faces = faces.astype(np.int64)
    return faces.ravel(), np.roll(faces, -1, axis=1).ravel()


def is_closed(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Whether every edge joins exactly two faces that run through it in opposite ways."""
    if not len(faces):
        return False
    start, end = directed_edges(faces)
    size = int(faces.max()) + 1
    there, back = np.sort(start * size + end), np.sort(end * size + start)
    return bool((np.diff(there) > 0).all() and np.array_equal(there, back))


def is_manifold(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Whether the faces around every vertex make one fan, and no edge joins more than two faces."""
    start, end = directed_edges(faces)
    size = int(faces.max()) + 1 if len(faces) else 0
    _, uses = np.unique(np.minimum(start, end) * size + np.maximum(start, end), return_counts=True)
    return bool((uses <= 2).all() and corner_fans(faces).max(initial=-1) + 1 == len(np.unique(faces)))


def mesh_quality(mesh: Mesh) -> dict[str, int | bool]:
    """Counts and checks for the report; vertices that only UV seams split count once.

    Returns:
        ``vertices``, ``faces``, ``watertight`` (closed, faces turned alike), ``manifold``, ``euler``,
        ``components`` and ``degenerate`` (faces with area below 1e-12 of the squared size of the mesh).
    """
    places, faces = weld(mesh)
    start, end = directed_edges(faces)
    links = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(len(places), len(places)))
    edges = len(np.unique(np.minimum(start, end) * len(places) + np.maximum(start, end)))
    corners = places[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    return {
        "vertices": len(places),
        "faces": len(faces),
        "watertight": is_closed(faces),
        "manifold": is_manifold(faces),
        "euler": len(places) - edges + len(faces),
        "components": int(connected_components(links, directed=False)[0]),
        "degenerate": int((area < 1e-12 * float(np.ptp(places, axis=0).max()) ** 2).sum()),
    }


def largest_solid(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"]]:
    """The connected part with the greatest volume; the walls of hollows have negative volume and go."""
    size = len(vertices)
    start, end = directed_edges(faces)
    links = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(size, size))
    part = connected_components(links, directed=False)[1][faces[:, 0]]
    corners = vertices[faces].astype(np.float64)
    shares = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return _without_unused(vertices, faces[part == np.bincount(part, shares).argmax()])


def _without_unused(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "f 3"]]:
    used, index = np.unique(faces, return_inverse=True)
    return vertices[used], index.reshape(-1, 3).astype(np.int32)
