# SPDX-License-Identifier: Apache-2.0
"""What a synthetic picture is taken of: a mesh, its paint, and the light that can reach it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import cKDTree

from backend.mesh import vertex_normals
from backend.raycast import Caster
from backend.training.blend import blended
from backend.training.light import sphere_directions

LIFT = 2e-3  # Start of shadow rays above the surface, in radii of the mesh.
SKY_DIRECTIONS = 64
# Kinds of triangles: solid; hair, which hides softly and casts shadows; lenses, which do neither; hair so near to the
# skin that it hides softly and casts none.
SOLID, HAIR, CLEAR, DOWN = range(4)


@dataclass(frozen=True)
class Rays:
    """Rays from one point that met something.

    Args:
        origin: World coordinates.
        directions: Unit vectors.
        distance: To what they met, world units.
        spacing: Angle between neighbouring rays, radians.
    """

    origin: Float[np.ndarray, "3"]
    directions: Float[np.ndarray, "n 3"]
    distance: Float[np.ndarray, "n"]
    spacing: float


@dataclass(frozen=True)
class Hits:
    """Where rays met a subject.

    Args:
        triangle: Index into its faces.
        barycentric: Weights of the corners.
        kind: ``SOLID``, ``HAIR``, ``CLEAR`` or ``DOWN``.
        points: World coordinates.
        normals: Smooth unit normals, turned to the side that is seen.
        is_back: Whether that is the inner side.
        to_camera: Unit vectors.
        footprint: Distance between neighbouring rays there, world units; the median over all hits.
    """

    triangle: Int[np.ndarray, "n"]
    barycentric: Float[np.ndarray, "n 3"]
    kind: Int[np.ndarray, "n"]
    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    is_back: Bool[np.ndarray, "n"]
    to_camera: Float[np.ndarray, "n 3"]
    footprint: float

    @property
    def outward(self) -> Float[np.ndarray, "n 3"]:
        """Smooth unit normals, whatever side is seen."""
        return np.where(self.is_back[:, None], -self.normals, self.normals)

    def chosen(self, rows: Int[np.ndarray, "m"], first_triangle: int) -> "Hits":
        """Some of the hits, their triangles numbered from ``first_triangle``."""
        return Hits(
            self.triangle.take(rows) - first_triangle,
            self.barycentric.take(rows, axis=0),
            self.kind.take(rows),
            self.points.take(rows, axis=0),
            self.normals.take(rows, axis=0),
            self.is_back.take(rows),
            self.to_camera.take(rows, axis=0),
            self.footprint,
        )


@dataclass(frozen=True)
class Surface:
    """What hits look like.

    Args:
        albedo: Linear RGB.
        shine: 0 is dull cloth, about 0.3 skin, 1 a wet eye.
        tilt: Added to the normal: pores and wrinkles.
        opacity: How much is hidden behind; all when omitted.
        strand: Rows that are hair, the unit direction of the hair there, and how far single strands lean off it,
            radians.
    """

    albedo: Float[np.ndarray, "n 3"]
    shine: Float[np.ndarray, "n"]
    tilt: Float[np.ndarray, "n 3"] | None = None
    opacity: Float[np.ndarray, "n"] | None = None
    strand: tuple[Int[np.ndarray, "h"], Float[np.ndarray, "h 3"], Float[np.ndarray, "h"]] | None = None


@dataclass(frozen=True)
class Rendering:
    """A square picture; all but ``rgba`` is taken at pixel centres without smoothing.

    Args:
        rgba: sRGB, not multiplied by alpha.
        depth: Along the optical axis, world units; infinite where nothing is seen.
        normal: Unit vectors in world axes; 0 where nothing is seen.
        triangle: Index of the triangle seen; -1 where nothing is.
        barycentric: Weights of its corners; 0 where nothing is seen.
    """

    rgba: UInt8[np.ndarray, "s s 4"]
    depth: Float[np.ndarray, "s s"]
    normal: Float[np.ndarray, "s s 3"]
    triangle: Int[np.ndarray, "s s"]
    barycentric: Float[np.ndarray, "s s 3"]


@dataclass(frozen=True)
class Subject:
    """Something to take pictures of; what all pictures share is computed once, when first needed.

    Args:
        vertices: World coordinates.
        faces: Counter-clockwise seen from outside.
        kind: ``SOLID``, ``HAIR``, ``CLEAR`` or ``DOWN``, of each triangle.
        surface_of_hit: The paint.
        bake_spacing: Of each vertex: surrounding light is found no denser than this, world units; everywhere when
            omitted or 0.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    kind: Int[np.ndarray, "f"]
    surface_of_hit: Callable[[Hits], Surface]
    bake_spacing: Float[np.ndarray, "v"] | None = None

    @cached_property
    def caster(self) -> Caster:
        """Finds where rays meet the subject."""
        return Caster(self.vertices, self.faces)

    @cached_property
    def solid_faces(self) -> Int[np.ndarray, "s"]:
        """Which triangles are neither hair nor lenses."""
        return np.flatnonzero(self.kind == SOLID)

    @cached_property
    def solid_caster(self) -> Caster:
        """Finds where rays meet solid triangles; its triangles are numbered as in ``solid_faces``."""
        return Caster(self.vertices, self.faces[self.solid_faces])

    @cached_property
    def light_caster(self) -> Caster:
        """Finds what casts shadows."""
        is_dark = (self.kind == SOLID) | (self.kind == HAIR)
        return Caster(self.vertices, self.faces[is_dark], watertight=False)

    @cached_property
    def normals(self) -> Float[np.ndarray, "v 3"]:
        """Smooth unit vertex normals."""
        return vertex_normals(self.vertices, self.faces).astype(np.float32)

    @property
    def sky(self) -> Float[np.ndarray, "d 3"]:
        """Unit vectors of the directions from which surrounding light comes."""
        return sphere_directions(SKY_DIRECTIONS)

    def surround(self, radiance: Float[np.ndarray, "d c"]) -> Float[np.ndarray, "v c"]:
        """Light at each vertex when so much comes from each direction of ``sky``; all of 1 where all is open."""
        return self._baked.light(radiance.astype(np.float32))

    @cached_property
    def openness(self) -> Float[np.ndarray, "v"]:
        """Share of a uniform surrounding's light that reaches each vertex, 0 to 1."""
        return self.surround(np.ones((SKY_DIRECTIONS, 1)))[:, 0]

    @cached_property
    def _baked(self) -> "_BakedSky":
        return _bake(self)

    def hits(self, triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"], rays: Rays) -> Hits:
        """What rays met, with what paint and light ask about it."""
        weights = barycentric.astype(np.float32)
        normals = smooth_normals(self, triangle, weights)
        to_camera = -rays.directions.astype(np.float32)
        is_back = np.einsum("nc,nc->n", normals, to_camera) < -0.2
        normals *= np.where(is_back, np.float32(-1), np.float32(1))[:, None]
        points = rays.origin.astype(np.float32) - rays.distance.astype(np.float32)[:, None] * to_camera
        footprint = float(rays.spacing * np.median(rays.distance)) if len(rays.distance) else rays.spacing
        return Hits(triangle, weights, self.kind.take(triangle), points, normals, is_back, to_camera, footprint)

    def between_corners(
        self, table: Float[np.ndarray, "v c"], triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n c"]:
        """Values of vertices at places in triangles."""
        return blended(table, self._corners.take(triangle, axis=0), barycentric)

    @cached_property
    def _corners(self) -> Int[np.ndarray, "f 3"]:
        return np.ascontiguousarray(self.faces, dtype=np.int32)


def smooth_normals(
    subject: Subject, triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Unit normals between vertices."""
    normals = subject.between_corners(subject.normals, triangle, barycentric.astype(np.float32))
    return normals / np.sqrt(np.einsum("nc,nc->n", normals, normals)).clip(1e-9)[:, None]


@dataclass(frozen=True)
class _BakedSky:
    """Which light reaches vertices.

    Args:
        count: Of vertices.
        exact: Vertices where it was found.
        table: What share of theirs comes from each direction.
        between: Vertices between those.
        near: Rows of ``table`` near them.
        weights: Of those rows.
    """

    count: int
    exact: Int[np.ndarray, "e"]
    table: Float[np.ndarray, "e d"]
    between: Int[np.ndarray, "b"]
    near: Int[np.ndarray, "b k"]
    weights: Float[np.ndarray, "b k"]

    def light(self, radiance: Float[np.ndarray, "d c"]) -> Float[np.ndarray, "v c"]:
        found = self.table @ radiance
        result = np.zeros((self.count, radiance.shape[1]), np.float32)
        result[self.exact] = found
        result[self.between] = blended(found, self.near, self.weights)
        return result


def _bake(subject: Subject) -> _BakedSky:
    """Exact where the spacing is 0, elsewhere between a few vertices that face alike."""
    used = np.unique(subject.faces)
    points, normals = subject.vertices[used], subject.normals[used]
    spacing = np.zeros(len(used)) if subject.bake_spacing is None else subject.bake_spacing[used]
    coarse = np.flatnonzero(spacing > 0)
    chosen = coarse[_spread_out(points[coarse], normals[coarse], spacing[coarse])]
    exact = np.concatenate([chosen, np.flatnonzero(spacing == 0)])
    table = _seen_sky(subject, points[exact], normals[exact])
    between = np.setdiff1d(coarse, chosen)
    near, weights = np.zeros((len(between), 1), np.int64), np.ones((len(between), 1), np.float32)
    if len(between):
        places = np.concatenate([points, 0.5 * spacing[:, None] * normals], axis=1)
        distance, near = cKDTree(places[chosen]).query(places[between], k=[1, 2, 3][: len(chosen)])
        closeness = 1 / (distance + 0.1 * spacing[between, None]) ** 2
        weights = (closeness / closeness.sum(1, keepdims=True)).astype(np.float32)
    return _BakedSky(len(subject.vertices), used[exact], table, used[between], near, weights)


def _spread_out(
    points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], spacing: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "c"]:
    """One of the points in each cell of a lattice for each of six directions that they face."""
    if not len(points):
        return np.zeros(0, np.int64)
    cells = np.floor(points / spacing[:, None]).astype(np.int64)
    axis = np.abs(normals).argmax(1)
    facing = 2 * axis + (normals[np.arange(len(normals)), axis] > 0)
    key = ((cells[:, 0] * 8192 + cells[:, 1]) * 8192 + cells[:, 2]) * 8 + facing
    return np.sort(np.unique(key, return_index=True)[1])


def _seen_sky(
    subject: Subject, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n d"]:
    """Cosine times visibility of each direction, divided by the sum of all cosines."""
    directions = subject.sky
    cosine = np.maximum(normals @ directions.T.astype(np.float32), 0)
    start = points + LIFT * subject.caster.radius * normals
    seen: Bool[np.ndarray, "n d"] = np.zeros(cosine.shape, bool)
    for number, direction in enumerate(directions):
        above = np.flatnonzero(cosine[:, number] > 0)
        ray = np.broadcast_to(direction, (len(above), 3))
        seen[above, number] = ~subject.light_caster.is_blocked(start[above], ray, np.inf)
    return cosine * seen / cosine.sum(1, keepdims=True).clip(1e-9)
