# SPDX-License-Identifier: Apache-2.0
"""How far one surface is from another; lengths are in the unit of what is given."""

from collections.abc import Sequence

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from backend.mesh import Mesh, vertex_normals

SPREAD = (0.1, 0.9)
NORMAL_LIMITS_DEG = {"11": 11.25, "22": 22.5, "30": 30.0}


def nearest_on_surface(
    points: Float[np.ndarray, "n 3"], vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
    """Distances to a triangle mesh, and its nearest points."""
    squared, _, nearest = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points, dtype=np.float64),
        np.ascontiguousarray(vertices, dtype=np.float64),
        np.ascontiguousarray(faces, dtype=np.int64),
    )
    return np.sqrt(np.maximum(squared, 0)), np.asarray(nearest)


def surface_error(
    scan: Float[np.ndarray, "n 3"], vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> dict[str, float]:
    """``median``, ``mean`` and ``std`` of the distances from scanned points to a mesh in the same frame.

    Source:
        Sanyal et al. 2019, Learning to regress 3D face shape and expression, section 5 (the NoW benchmark).
    """
    distance, _ = nearest_on_surface(scan, vertices, faces)
    return {"median": float(np.median(distance)), "mean": float(distance.mean()), "std": float(distance.std())}


def depth_error(
    truth: Float[np.ndarray, "h w"], made: Float[np.ndarray, "h w"], where: Bool[np.ndarray, "h w"]
) -> dict[str, float]:
    """``l1`` and ``rmse`` after the scale and shift that fit the made depth best.

    Args:
        truth: Depth.
        made: Depth in any unit, from any zero; finite where it counts.
        where: What counts; at least two depths.

    Source:
        Ranftl et al. 2022, Towards robust monocular depth estimation, equations 2 to 4.
    """
    goal, given = truth[where], made[where]
    design = np.column_stack([given, np.ones(len(given))])
    rest = design @ np.linalg.lstsq(design, goal, rcond=None)[0] - goal
    return {"l1": float(np.abs(rest).mean()), "rmse": float(np.sqrt((rest**2).mean()))}


def normal_error(
    truth: Float[np.ndarray, "h w 3"], made: Float[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"]
) -> dict[str, float]:
    """``mean`` angle in degrees between unit normals, and percent of angles ``below_11`` (11.25°), ``_22``, ``_30``."""
    cosine = np.einsum("nc,nc->n", truth[where], made[where])
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    shares = {f"below_{name}": float(100 * (angle < limit).mean()) for name, limit in NORMAL_LIMITS_DEG.items()}
    return {"mean": float(angle.mean()), **shares}


def cloud_distance(
    truth: Float[np.ndarray, "n 3"], made: Float[np.ndarray, "m 3"], thresholds: Sequence[float]
) -> dict[str, float]:
    """Chamfer distance of points on two surfaces, and their F-scores.

    Args:
        truth: Spread evenly over the true surface.
        made: The same of the other.
        thresholds: Distances at which a point counts as found.

    Returns:
        ``chamfer``, the mean of both mean distances, and ``f_0``, ``f_1``, … in percent by threshold.

    Source:
        Knapitsch et al. 2017, Tanks and Temples, section 4 (F-score).
    """
    to_made, to_truth = cKDTree(made).query(truth)[0], cKDTree(truth).query(made)[0]
    scores = {"chamfer": float(to_made.mean() + to_truth.mean()) / 2}
    for number, limit in enumerate(thresholds):
        recall, precision = (to_made < limit).mean(), (to_truth < limit).mean()
        scores[f"f_{number}"] = float(200 * recall * precision / max(recall + precision, 1e-9))
    return scores


def flatness(truth: Float[np.ndarray, "h w"], made: Float[np.ndarray, "h w"], where: Bool[np.ndarray, "h w"]) -> float:
    """Spread of the made depth in spreads of the true depth: 1 is right, 0 a flat mask.

    The spread is that of the middle four fifths, so that a pixel beside the outline, where one of the surfaces lies
    far behind, does not count.
    """
    made_low, made_high = np.quantile(made[where], SPREAD)
    low, high = np.quantile(truth[where], SPREAD)
    return float((made_high - made_low) / (high - low))


def sample_surface(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Int[np.ndarray, "n"]]:
    """Random points spread evenly over a mesh, the unit normals of their faces, and the faces."""
    corners = vertices[faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1)
    face = rng.choice(len(faces), count, p=area / area.sum())
    share = rng.dirichlet([1.0, 1.0, 1.0], count)
    return np.einsum("nk,nkc->nc", share, corners[face]), across[face] / area[face, None], face


def smooth_normals(
    mesh: Mesh, triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Unit normals between vertices."""
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    between = np.einsum("nk,nkc->nc", barycentric, normals[mesh.faces[triangle]])
    return between / np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-9)
