# SPDX-License-Identifier: Apache-2.0
"""How far the surface of a finished head is from the truth."""

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from backend.evaluation.geometry_metrics import cloud_distance, surface_error
from backend.evaluation.registration import SEVEN_LANDMARKS, fit_similarity, register
from backend.evaluation.truth import TruthHead
from backend.mesh import Mesh
from backend.training.framing import HEAD_CENTRE_M

STANDS_OUT_MM = 15.0


def surface_scores(truth: TruthHead, mesh: Mesh, landmarks: Float[np.ndarray, "7 3"]) -> dict[str, float]:
    """Errors after the head is brought to the truth by its face.

    Args:
        truth: The person.
        mesh: Made from a photo of the person, anywhere and of any size.
        landmarks: On it, those of ``SEVEN_LANDMARKS``.

    Returns:
        face_mm: Median distance from the scanned face to the head's surface.
        head_mm: Chamfer distance of all that is seen above the chin, hair included.
        error_mm: The root of their product.
        outside_percent: Share of the head's surface above the chin that stands farther than 15 mm outside the true one.
    """
    vertices, faces, mm = mesh.vertices.astype(np.float64), mesh.faces, truth.mm_per_m
    start = fit_similarity(landmarks, truth.landmarks[list(SEVEN_LANDMARKS)])
    placed = register(vertices, faces, truth.face_scan, start).place(vertices)
    face = mm * surface_error(truth.face_scan, placed, faces)["median"]
    own = truth.outer_points(placed, faces, faces)
    whole = cloud_distance(mm * truth.head_points, mm * own, [])["chamfer"]
    distance, nearest = cKDTree(truth.head_points).query(own)
    centre = truth.frame.place(HEAD_CENTRE_M[None])[0]
    is_outside = np.linalg.norm(own - centre, axis=1) > np.linalg.norm(truth.head_points[nearest] - centre, axis=1)
    outside = 100 * float(np.mean(is_outside & (mm * distance > STANDS_OUT_MM)))
    return {"face_mm": face, "head_mm": whole, "error_mm": float(np.sqrt(face * whole)), "outside_percent": outside}
