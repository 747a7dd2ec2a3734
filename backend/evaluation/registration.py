# SPDX-License-Identifier: Apache-2.0
"""Brings a mesh to a scan: from landmarks to a first similarity, from there by the nearest points."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from backend import face_mesh_points as points
from backend.camera import Camera
from backend.evaluation.geometry_metrics import nearest_on_surface
from backend.mesh import Mesh

# As the NoW benchmark has them: the corners of both eyes, the base of the nose, the corners of the mouth.
SEVEN_LANDMARKS = (
    points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER, points.LEFT_EYE_INNER, points.LEFT_EYE_OUTER, points.NOSE_BASE,
    points.MOUTH_RIGHT, points.MOUTH_LEFT,
)  # fmt: skip
MOST_STEPS, STILL = 60, 1e-4  # Steps end when the error falls by a smaller share.
KEPT_SHARE = 0.9
SCAN_POINTS = 4000


@dataclass(frozen=True)
class Similarity:
    """Turn, scale and shift: ``scale * rotation @ point + shift``."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def place(self, positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Where points go."""
        return self.scale * positions @ self.rotation.T + self.shift

    def place_mesh(self, mesh: Mesh) -> Mesh:
        """Where a mesh goes; its normals turn along."""
        normals = None if mesh.normals is None else mesh.normals @ self.rotation.T
        return replace(mesh, vertices=self.place(mesh.vertices.astype(np.float64)), normals=normals)

    def place_camera(self, camera: Camera) -> Camera:
        """The camera that sees what is placed as the given one sees what is not."""
        cam2world = camera.cam2world.copy()
        cam2world[:3, :3] = self.rotation @ camera.cam2world[:3, :3]
        cam2world[:3, 3] = self.place(camera.position[None])[0]
        return Camera(cam2world, camera.intrinsics)


def fit_similarity(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], *, is_rigid: bool = False
) -> Similarity:
    """What brings points nearest to their targets, without reflection.

    Args:
        source: At least three, not on a line.
        target: One for each.
        is_rigid: Keeps the scale at 1.

    Source:
        Umeyama 1991.
    """
    centre, goal = source.mean(0), target.mean(0)
    covariance = (target - goal).T @ (source - centre) / len(source)
    left, stretch, right = np.linalg.svd(covariance)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left * signs @ right
    scale = 1.0 if is_rigid else float(stretch @ signs / ((source - centre) ** 2).sum(1).mean())
    return Similarity(scale, rotation, goal - scale * rotation @ centre)


def register(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    scan: Float[np.ndarray, "n 3"],
    start: Similarity,
) -> Similarity:
    """The similarity of a mesh that brings scanned points nearest to it.

    Args:
        vertices: Of the mesh, in its own frame.
        faces: Of the mesh.
        scan: In the frame that the similarity leads to.
        start: From landmarks.

    Source:
        Besl and McKay 1992; the farthest tenth of the points is left out of each step, as in Chetverikov et al. 2002,
        The trimmed iterative closest point algorithm.
    """
    chosen = scan[:: max(1, len(scan) // SCAN_POINTS)]
    found, last = start, np.inf
    for _ in range(MOST_STEPS):
        # Distances in the mesh's frame differ by the scale alone, and the mesh stays as it is.
        back = (chosen - found.shift) @ found.rotation / found.scale
        distance, nearest = nearest_on_surface(back, vertices, faces)
        kept = distance <= np.quantile(distance, KEPT_SHARE)
        error = float(np.sqrt((distance[kept] ** 2).mean())) * found.scale
        if error > last * (1 - STILL):
            break
        found, last = fit_similarity(nearest[kept], chosen[kept]), error
    return found
