# SPDX-License-Identifier: Apache-2.0
"""The head unrolled: around the vertical axis, and down from the crown to the base.

``u`` follows the azimuth around the head's axis. ``v`` follows a harmonic function on the surface that is 0 at the
crown and 1 at the base: it rises everywhere, also under the chin and over the shoulders, where height does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from backend.mesh import directed_edges

CROWN_RADIUS = 0.28  # Of the head's radius; nearer to the axis the azimuth turns too fast.
BASE_SLOPE = 0.6  # A base face looks down by more than this sine.
FACE_ACROSS, FACE_ALONG = 2.2, 1.6  # The face's texels are so much denser around and along the head than elsewhere.
FACE_DEG = (50.0, 110.0)  # Azimuths where the face ends and the back begins.
FACE_BELOW, FACE_ABOVE = (-1.5, -1.1), (0.6, 1.0)  # Heights where it ends, in head radii from the origin.
KNOTS = 65


@dataclass(frozen=True)
class Unrolled:
    """Cylindrical coordinates of a head.

    Args:
        u: Per vertex, 0 to 1 around the axis from the back over the subject's right, face and left.
        v: Per vertex, 0 at the crown to 1 at the base.
        reach: Per face, distance from the axis.
        crown: Faces around the top end of the axis, without place in the cylinder.
        base: Faces of the cut below, without place in the cylinder.
    """

    u: Float[np.ndarray, "v"]
    v: Float[np.ndarray, "v"]
    reach: Float[np.ndarray, "f"]
    crown: Bool[np.ndarray, "f"]
    base: Bool[np.ndarray, "f"]


@dataclass(frozen=True)
class _Shape:
    """What the steps measure on the mesh once: per face area, centre, upward part of the normal."""

    points: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    area: Float[np.ndarray, "f"]
    centre: Float[np.ndarray, "f 3"]
    upward: Float[np.ndarray, "f"]

    @property
    def height(self) -> float:
        return float(np.ptp(self.points[:, 1]))


def unroll(points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Unrolled:
    """Cylindrical coordinates of a closed head in canonical space."""
    shape = _measure(points.astype(np.float64), faces)
    azimuth, reach = _around_axis(shape, shape.points)
    face_azimuth, face_reach = _around_axis(shape, shape.centre)
    radius = _head_radius(shape, face_reach)
    crown, base = (_rounded_off(faces, cap) for cap in (_crown(shape, reach, radius), _base(shape)))
    depth = _harmonic(shape, crown, base)
    u = _warp_azimuth(azimuth)
    weight = shape.area * _azimuth_density(face_azimuth) ** 2 * _height_density(shape.centre[:, 1] / radius)
    weight /= np.maximum(face_reach, CROWN_RADIUS * radius)
    v = _even_out(depth, depth[faces].mean(axis=1), np.where(crown | base, 0.0, weight))
    return Unrolled(u, v, face_reach, crown, base)


def _measure(points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> _Shape:
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    area = np.linalg.norm(normal, axis=1)
    upward = np.divide(normal[:, 1], area, out=np.zeros_like(area), where=area > 0)
    return _Shape(points, faces, area, corners.mean(axis=1), upward)


def _around_axis(
    shape: _Shape, points: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Azimuth in radians, 0 in front, and distance from an axis that leans along with skull and neck."""
    knots = np.linspace(shape.points[:, 1].min(), shape.points[:, 1].max(), KNOTS)
    nearness = np.exp(-(((shape.centre[:, 1] - knots[:, None]) / (0.17 * shape.height)) ** 2) / 2) * shape.area
    axis_z = np.interp(points[:, 1], knots, nearness @ shape.centre[:, 2] / nearness.sum(axis=1))
    forward = points[:, 2] - axis_z
    return np.arctan2(points[:, 0], forward), np.hypot(points[:, 0], forward)


def _head_radius(shape: _Shape, reach: Float[np.ndarray, "f"]) -> float:
    """Distance from the axis in the upper part of the mesh; a tenth of the faces there lies beyond."""
    below_top = shape.points[:, 1].max() - shape.centre[:, 1]
    upper = (below_top > 0.25 * shape.height) & (below_top < 0.5 * shape.height)
    return float(np.quantile(reach[upper] if upper.any() else reach, 0.9))


def _crown(shape: _Shape, reach: Float[np.ndarray, "v"], radius: float) -> Bool[np.ndarray, "f"]:
    near = reach[shape.faces].max(axis=1) < CROWN_RADIUS * radius
    high = shape.centre[:, 1] > shape.points[:, 1].max() - 0.25 * shape.height
    return _connected(shape, near & high, seed=int(np.argmax(np.where(near, shape.centre[:, 1], -np.inf))))


def _base(shape: _Shape) -> Bool[np.ndarray, "f"]:
    low = shape.centre[:, 1] < shape.points[:, 1].min() + 0.2 * shape.height
    return _connected(shape, low & (shape.upward < -BASE_SLOPE), seed=int(np.argmin(shape.centre[:, 1])))


def _rounded_off(faces: Int[np.ndarray, "f 3"], cap: Bool[np.ndarray, "f"]) -> Bool[np.ndarray, "f"]:
    """The cap with the faces between its teeth: those whose corners all lie on it."""
    inside = np.zeros(int(faces.max()) + 1, dtype=bool)
    inside[faces[cap]] = True
    return inside[faces].all(axis=1)


def _connected(shape: _Shape, chosen: Bool[np.ndarray, "f"], *, seed: int) -> Bool[np.ndarray, "f"]:
    """The chosen faces that hang together with one face, which is always among them."""
    chosen = chosen.copy()
    chosen[seed] = True
    index = np.flatnonzero(chosen)
    labels = face_parts(shape.faces[index])
    return chosen & np.isin(np.arange(len(chosen)), index[labels == labels[np.searchsorted(index, seed)]])


def face_parts(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f"]:
    """A number for each face, equal for faces that hang together over vertices; numbers are 0 and up without gaps."""
    if not len(faces):
        return np.zeros(0, dtype=np.int64)
    start, end = directed_edges(faces)
    size = int(faces.max()) + 1
    links = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(size, size))
    labels = connected_components(links, directed=False)[1][faces[:, 0]]
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def _harmonic(shape: _Shape, crown: Bool[np.ndarray, "f"], base: Bool[np.ndarray, "f"]) -> Float[np.ndarray, "v"]:
    """The harmonic function that is 0 on the crown and 1 on the base.

    Source:
        Pinkall and Polthier 1993, Computing discrete minimal surfaces and their conjugates (cotangent weights); weights
        are kept positive so that the function has no peaks or pits.
    """
    value = np.zeros(len(shape.points))
    value[shape.faces[base]] = 1.0
    fixed = np.zeros(len(shape.points), dtype=bool)
    fixed[shape.faces[crown | base]] = True
    weights = _cotangents(shape)
    laplacian = (diags(np.asarray(weights.sum(axis=1)).ravel() + 1e-9) - weights).tocsr()[~fixed]
    value[~fixed] = spsolve(laplacian[:, ~fixed].tocsc(), -(laplacian[:, fixed] @ value[fixed]))
    return value


def _cotangents(shape: _Shape) -> csr_matrix:
    size = len(shape.points)
    rows, columns, values = [], [], []
    for corner in range(3):
        start, end, apex = (np.roll(shape.faces, -corner, axis=1)[:, index] for index in range(3))
        first, second = shape.points[start] - shape.points[apex], shape.points[end] - shape.points[apex]
        cosine = np.einsum("fa,fa->f", first, second)
        values.append(np.maximum(cosine / np.maximum(2 * shape.area, 1e-30), 0.05))
        rows.append(start)
        columns.append(end)
    upper = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size))
    return (upper + upper.T).tocsr()


def _azimuth_density(azimuth: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """How dense texels are around the head, 1 at the back."""
    return np.interp(np.abs(np.degrees(azimuth)), FACE_DEG, (FACE_ACROSS, 1.0))


def _height_density(height: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """How dense texels are along the head, 1 above and below the face; heights in head radii."""
    return np.interp(height, (*FACE_BELOW, *FACE_ABOVE), (1.0, FACE_ALONG, FACE_ALONG, 1.0))


def _warp_azimuth(azimuth: Float[np.ndarray, "v"]) -> Float[np.ndarray, "v"]:
    """From azimuth, -pi to pi, to u, 0 to 1."""
    knots = np.linspace(-np.pi, np.pi, 721)
    density = _azimuth_density((knots[1:] + knots[:-1]) / 2)
    share = np.concatenate([[0.0], np.cumsum(density)])
    return np.interp(azimuth, knots, share / share[-1])


def _even_out(
    values: Float[np.ndarray, "v"], face_values: Float[np.ndarray, "f"], weight: Float[np.ndarray, "f"]
) -> Float[np.ndarray, "v"]:
    """Bend an axis from 0 to 1 so that equal weight of faces lies on equal lengths of it."""
    order = np.argsort(face_values, kind="stable")
    share = np.cumsum(weight[order])
    knots = np.linspace(0, 1, KNOTS)
    at = np.interp(knots, share / share[-1], face_values[order])
    at[0], at[-1] = 0.0, 1.0
    return np.interp(values, at, knots)
