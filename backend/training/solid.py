# SPDX-License-Identifier: Apache-2.0
"""The mean head, hair styles and tops as solids: signed distances in the canonical frame, metres, negative inside.

Canonical space is the mean head at rest with its lips slightly parted, so that upper and lower lip, though they
touch on most people, are apart where the field is learnt and meshed.
"""

import igl
import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from backend.raycast import Caster
from backend.training.makehuman import EYEBALLS, MakeHuman, fit_proxy, to_canonical

SIDE = 0.42
LIPS_PARTED = 0.3
# The sockets behind the eyeballs and the throat behind the lips are filled: nobody sees them, and a mesh should not
# have them.
SOCKET_RADIUS = 0.0170
SOCKET_FRONT = 0.005
THROAT_FRONT = (0.108, 0.55)
THROAT_BACK = -0.02
THROAT_HALF_WIDTH = 0.041
THROAT_Y = (-0.029, 0.034)
# Behind the lips' outer side the mouth is filled too, but for the gap between them: the walls there are thinner than
# a mesh can tell apart.
LIPS_BOX = np.array([[-0.046, -0.076, 0.05], [0.046, -0.021, 0.2]])
LIPS_GAP = (-0.0473, 0.0075)
LIPS_CORNER = 0.0255
LIP_SKIN_M = 0.0015
WALL_M = 0.0004


class BodySolid:
    """The mean body with eyeballs.

    Args:
        makehuman: The MakeHuman assets.
        base_dm: The mean base mesh with parted lips, decimetres.
    """

    def __init__(self, makehuman: MakeHuman, base_dm: Float[np.ndarray, "19158 3"]) -> None:
        eyes = makehuman.eyes
        skin = to_canonical(base_dm)
        self.vertices = np.concatenate([skin, to_canonical(fit_proxy(eyes, base_dm))])
        self.skin_faces = makehuman.body.faces
        self.eye_faces = eyes.mesh.faces + len(skin)
        self._eye = skin[EYEBALLS[0]].mean(0)
        ball = self.vertices[np.unique(self.eye_faces)]
        left = ball[ball[:, 0] > 0]
        self._eye_radius = float(np.linalg.norm(left - self._eye, axis=1).mean())
        self._caster = Caster(skin, self.skin_faces)

    @property
    def faces(self) -> Int[np.ndarray, "f 3"]:
        """Triangles of skin and eyeballs."""
        return np.concatenate([self.skin_faces, self.eye_faces])

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Signed distance to the head, metres; approximate inside the filled sockets and throat."""
        side = np.abs(points[:, 0])
        mirrored = np.stack([side, points[:, 1], points[:, 2]], axis=1)
        socket = np.maximum(
            np.linalg.norm(mirrored - self._eye, axis=1) - SOCKET_RADIUS,
            points[:, 2] - self._eye[2] - SOCKET_FRONT,
        )
        throat = np.maximum.reduce(
            [
                points[:, 2] - (THROAT_FRONT[0] - THROAT_FRONT[1] * side),
                THROAT_BACK - points[:, 2],
                side - THROAT_HALF_WIDTH,
                np.abs(points[:, 1] - THROAT_Y[0]) - THROAT_Y[1],
            ]
        )
        skin = mesh_distance(points, self.vertices, self.skin_faces)
        # A round eye instead of the asset's few facets.
        eye = np.linalg.norm(mirrored - self._eye, axis=1) - self._eye_radius
        return np.minimum.reduce([skin, eye, socket, throat, self._behind_lips(points)])

    def mouth_points(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "m 3"]:
        """Random points of the walls that the filling leaves behind the lips' gap; at most ``count``."""
        y, half = LIPS_GAP
        high = np.array([LIPS_CORNER, y + half, LIPS_BOX[1, 2]]) + LIP_SKIN_M
        low = np.array([-LIPS_CORNER, y - half, THROAT_FRONT[0] - 0.02]) - LIP_SKIN_M
        points = rng.uniform(low, high, (150 * count, 3))
        points = points[np.abs(self.distance(points)) < WALL_M]
        bare = np.abs(mesh_distance(points, self.vertices, self.skin_faces)) > LIP_SKIN_M
        return points[bare][:count]

    def _behind_lips(self, points: np.ndarray) -> np.ndarray:
        """Distance to the filling behind the skin around the mouth, as seen from the front."""
        low, high = LIPS_BOX
        beside = np.maximum(low - points, points - high).max(1)
        outside_gap = np.minimum(LIPS_GAP[1] - np.abs(points[:, 1] - LIPS_GAP[0]), LIPS_CORNER - np.abs(points[:, 0]))
        distance = np.full(len(points), 1.0)
        near = np.flatnonzero(beside < 0.004)
        start = points[near].copy()
        start[:, 2] = 1.0
        _, _, depth = self._caster.first_hit(start, np.broadcast_to([0.0, 0.0, -1.0], start.shape))
        behind = points[near, 2] - (1.0 - depth) + LIP_SKIN_M
        distance[near] = np.maximum.reduce([behind, beside[near], outside_gap[near]])
        return distance


def mesh_distance(
    points: Float[np.ndarray, "n 3"], vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "n"]:
    """Signed distance to a mesh, inside where the winding number says so (Barill et al. 2018)."""
    result = igl.signed_distance(
        np.ascontiguousarray(points, np.float64),
        np.ascontiguousarray(vertices, np.float64),
        np.ascontiguousarray(faces, np.int64),
        sign_type=igl.SIGNED_DISTANCE_TYPE_FAST_WINDING_NUMBER,
    )
    return np.asarray(result[0])


def lattice_points(
    low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], shape: tuple[int, int, int]
) -> Float[np.ndarray, "x y z 3"]:
    """Nodes of an axis-aligned lattice, first and last node on the box."""
    axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def distance_lattice(
    solid: BodySolid, low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], shape: tuple[int, int, int]
) -> Float[np.ndarray, "x y z"]:
    """A solid's signed distance on a lattice: exact near the surface, interpolated from a coarser one elsewhere."""
    coarse_shape = (shape[0] + 3) // 4, (shape[1] + 3) // 4, (shape[2] + 3) // 4
    coarse = solid.distance(lattice_points(low, high, coarse_shape).reshape(-1, 3)).reshape(coarse_shape)
    spacing = max((high - low) / (np.array(coarse_shape) - 1))
    index = np.meshgrid(*(np.linspace(0, c - 1, n) for c, n in zip(coarse_shape, shape, strict=True)), indexing="ij")
    lattice = map_coordinates(coarse, index, order=1)
    near = np.abs(lattice) < 2 * spacing
    lattice[near] = solid.distance(lattice_points(low, high, shape)[near])
    return lattice.astype(np.float32)


def carve(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    *,
    resolution: int,
    lowest_deg: float,
    directions: int = 96,
    seen_by: int = 3,
) -> Float[np.ndarray, "r r r"]:
    """Signed distance of all that cannot be seen from outside: hair cards and open garments become solids.

    A lattice node is outside when at least ``seen_by`` of many parallel views, none from deeper than ``lowest_deg``
    below the horizon, reach it before they meet the mesh.

    Returns:
        On the cube of side ``SIDE`` around the origin, metres.
    """
    caster = Caster(vertices, faces)
    nodes = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (resolution,) * 3)
    flat = nodes.reshape(-1, 3)
    seen = np.zeros(len(flat), np.int16)
    for view in _views(directions, lowest_deg):
        seen += _reached(caster, flat, view)
    inside = (seen < seen_by).reshape(nodes.shape[:3])
    spacing = SIDE / (resolution - 1)
    signed = distance_transform_edt(~inside) - distance_transform_edt(inside)
    # Half a node of smoothing takes the stairs of the yes-or-no lattice away.
    return (gaussian_filter(signed, 1.0) * spacing).astype(np.float32)


def _views(count: int, lowest_deg: float) -> Float[np.ndarray, "d 3"]:
    """Evenly spread unit directions towards the viewer (Fibonacci sphere), without the low ones."""
    index = np.arange(2 * count) + 0.5
    height = 1 - index / count
    turn = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    views = np.stack([radius * np.cos(turn), height, radius * np.sin(turn)], axis=1)
    return views[height > np.sin(np.radians(lowest_deg))]


def _reached(caster: Caster, points: np.ndarray, view: np.ndarray, size: int = 320) -> np.ndarray:
    """Which points a parallel view sees, by an orthographic depth map."""
    side = np.cross([0.0, 1.0, 0.0] if abs(view[1]) < 0.9 else [1.0, 0.0, 0.0], view)
    side /= np.linalg.norm(side)
    up = np.cross(view, side)
    reach = SIDE * 0.87
    grid = np.linspace(-reach, reach, size)
    across, along = np.meshgrid(grid, grid, indexing="ij")
    origins = (across[..., None] * side + along[..., None] * up + 1.0 * view).reshape(-1, 3)
    _, _, distance = caster.first_hit(origins, np.broadcast_to(-view, origins.shape))
    depth = np.where(np.isfinite(distance) & (distance > 0), distance, 9.0).reshape(size, size)
    to_pixel = (size - 1) / (2 * reach)
    i = np.clip(np.rint((points @ side + reach) * to_pixel), 0, size - 1).astype(np.int64)
    j = np.clip(np.rint((points @ up + reach) * to_pixel), 0, size - 1).astype(np.int64)
    return (1.0 - points @ view) < depth[i, j]
