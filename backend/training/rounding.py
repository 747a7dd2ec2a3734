# SPDX-License-Identifier: Apache-2.0
"""The mean head without the facets of MakeHuman's mesh; those on brow and cheeks, 8 mm wide, show in a smooth light."""

from copy import copy

import numpy as np
from jaxtyping import Float
from trimesh.remesh import subdivide_loop

from backend.training.solid import BodySolid, distance_lattice

MOST_M = 0.0003  # Rounding moves the skin by no more, so that lids and the wings of the nose keep their shape.
SUBDIVISIONS = 2


def rounded_lattice(
    solid: BodySolid, low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], shape: tuple[int, int, int]
) -> Float[np.ndarray, "x y z"]:
    """Signed distance to a solid with rounded skin on the nodes of a box, metres; the same on both sides of x = 0."""
    distance = distance_lattice(solid, low, high, shape)
    change = distance_lattice(_subdivided(solid), low, high, shape) - distance
    distance = distance + change / (1 + (change / MOST_M) ** 4) ** 0.25
    return (distance + distance[::-1]) / 2


def _subdivided(solid: BodySolid) -> BodySolid:
    """The same with a skin that is smooth, but thinner where it is strongly bent.

    Source:
        Loop 1987, Smooth subdivision surfaces based on triangles.
    """
    used, faces = np.unique(solid.skin_faces, return_inverse=True)
    skin, faces = subdivide_loop(solid.vertices[used], faces.reshape(-1, 3), iterations=SUBDIVISIONS)
    other = copy(solid)
    other.vertices = np.concatenate([skin, solid.vertices])
    other.skin_faces, other.eye_faces = faces, solid.eye_faces + len(skin)
    return other
