# SPDX-License-Identifier: Apache-2.0
"""The triangle mesh that the stages hand on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


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
