# SPDX-License-Identifier: Apache-2.0
"""Rays against a triangle mesh, and pictures of a textured mesh made with them; the only door to embreex."""

from collections.abc import Callable
from functools import partial

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from jaxtyping import Bool, Float, Int, UInt8

from backend.camera import Camera, rays
from backend.mesh import Mesh, vertex_normals

RAYS_PER_BLOCK = 1 << 20  # Keeps one block's float64 arrays near 100 MB.
AMBIENT = 0.35  # Share of the light that reaches a surface seen edge-on, when shaded.


class Caster:
    """Finds where rays meet a mesh.

    Embree computes in float32, so the mesh is kept in a unit ball around the origin and rays start where they
    enter that ball: positions are right to about 1e-6 of the mesh's radius, whatever its place and size.

    Args:
        vertices: In any unit and frame; rays are given in the same.
        faces: At least one. A triangle without area is never hit.
        watertight: No ray slips between neighbouring triangles. Shadows do without: few rays do, and all are faster.
    """

    def __init__(
        self, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, watertight: bool = True
    ) -> None:
        points = np.asarray(vertices, dtype=np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        self.centre: Float[np.ndarray, "3"] = (low + high) / 2
        self.radius = float(np.linalg.norm(high - low) / 2) or 1.0
        self.scene = rtcore_scene.EmbreeScene(robust=watertight)
        unit = ((points - self.centre) / self.radius).astype(np.float32)
        TriangleMesh(self.scene, unit, np.ascontiguousarray(faces, dtype=np.int32))
        self._mesh, self._watertight = (vertices, faces), watertight

    def __reduce__(self) -> tuple[Callable[..., "Caster"], tuple[np.ndarray, np.ndarray]]:
        """Embree's scene cannot go to another process; the mesh can."""
        return partial(Caster, watertight=self._watertight), self._mesh

    def _enter(
        self, origins: Float[np.ndarray, "#n 3"], directions: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """Rays in the unit ball's frame, started at the ball; the skipped distances in units of its radius."""
        unit = directions / np.sqrt(np.einsum("na,na->n", directions, directions))[:, None]
        start = (origins - self.centre) / self.radius
        outside = np.einsum("na,na->n", start, start) - 1.01
        if (outside <= 0).all():
            inside = np.broadcast_to(start.astype(np.float32), unit.shape)
            return inside, unit.astype(np.float32), np.zeros(len(unit))
        along = unit @ start[0] if len(start) == 1 else np.einsum("na,na->n", start, unit)
        to_ball = -along - np.sqrt(np.maximum(along**2 - outside, 0.0))
        skipped = np.where(outside > 0, np.maximum(to_ball, 0.0), 0.0)
        return (start + skipped[:, None] * unit).astype(np.float32), unit.astype(np.float32), skipped

    def first_hit(
        self, origins: Float[np.ndarray, "#n 3"], directions: Float[np.ndarray, "n 3"]
    ) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """The nearest triangle on each ray, from either side.

        Args:
            origins: One for each ray, or a single one for all.
            directions: Of any length but zero.

        Returns:
            The triangle (-1 where the ray misses), the barycentric weights of its corners, and the distance in the
            mesh's unit; weights are 0 and the distance infinite where the ray misses.
        """
        start, unit, skipped = self._enter(origins, directions)
        if not len(unit):
            return np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0)
        hits = self.scene.run(start, unit, output=1)
        triangle = hits["primID"].astype(np.int64)
        is_hit = triangle >= 0
        barycentric = np.empty((len(unit), 3))
        barycentric[:, 1], barycentric[:, 2] = hits["u"], hits["v"]
        barycentric[:, 0] = 1 - barycentric[:, 1] - barycentric[:, 2]
        barycentric[~is_hit] = 0.0
        distance = np.where(is_hit, (hits["tfar"] + skipped) * self.radius, np.inf)
        return triangle, barycentric, distance

    def is_blocked(
        self,
        origins: Float[np.ndarray, "#n 3"],
        directions: Float[np.ndarray, "n 3"],
        max_distance: float | Float[np.ndarray, "n"],
    ) -> Bool[np.ndarray, "n"]:
        """Whether something lies on each ray nearer than ``max_distance``, in the mesh's unit.

        Rays that start on the surface should be moved off it first, or they may meet their own triangle.
        """
        start, unit, skipped = self._enter(origins, directions)
        if not len(unit):
            return np.zeros(0, bool)
        reach = np.broadcast_to(max_distance, skipped.shape) / self.radius - skipped
        hit = self.scene.run(start, unit, dists=np.maximum(reach, 0.0).astype(np.float32), query="OCCLUDED")
        return (hit >= 0) & (reach > 0)


def sample_bilinear(
    image: np.ndarray, x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n c"]:
    """Values of an image ``(h, w, c)`` between its pixel centres, clamped at the border.

    Args:
        image: Any number type.
        x: To the right, pixels; the first pixel's centre is at 0.5.
        y: Downwards, pixels.
    """
    height, width = image.shape[:2]
    column = np.clip(x - 0.5, 0, width - 1).astype(np.float32)
    row = np.clip(y - 0.5, 0, height - 1).astype(np.float32)
    left, top = column.astype(np.int64), row.astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (column - left)[:, None], (row - top)[:, None]
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[bottom, left] * (1 - across) + image[bottom, right] * across
    return upper * (1 - down) + lower * down


def render_mesh(
    mesh: Mesh,
    texture: UInt8[np.ndarray, "t t 3"],
    camera: Camera,
    size_px: int,
    *,
    supersample: int = 2,
    background: tuple[int, int, int] = (128, 128, 128),
    shaded: bool = False,
) -> UInt8[np.ndarray, "s s 3"]:
    """A square picture of a textured mesh.

    Args:
        mesh: With uv; both sides of its faces are seen.
        texture: sRGB, for ``mesh.uv``.
        camera: In the mesh's world.
        size_px: Side of the picture.
        supersample: Rays along each side of a pixel.
        background: sRGB colour where nothing is seen.
        shaded: Light from the camera instead of the plain texture.

    Raises:
        ValueError: The mesh has no uv.
    """
    if mesh.uv is None:
        raise ValueError("render_mesh needs a mesh with uv")
    caster = Caster(mesh.vertices, mesh.faces)
    origin, directions = rays(camera, size_px * supersample)
    colors = np.empty(directions.shape, dtype=np.float32)
    rows = max(1, RAYS_PER_BLOCK // directions.shape[1])
    for first in range(0, len(directions), rows):
        block = directions[first : first + rows].reshape(-1, 3)
        triangle, barycentric, _ = caster.first_hit(origin[None], block)
        is_hit = triangle >= 0
        corners, weights = mesh.faces[triangle[is_hit]], barycentric[is_hit]
        shown = np.full(block.shape, background, dtype=np.float32)
        uv = np.einsum("nk,nkc->nc", weights, mesh.uv[corners]) * len(texture)
        shown[is_hit] = sample_bilinear(texture, uv[:, 0], uv[:, 1])
        if shaded:
            shown[is_hit] *= _headlight(mesh, corners, weights, directions=block[is_hit])[:, None]
        colors[first : first + rows] = shown.reshape(-1, *directions.shape[1:])
    pixels = colors.reshape(size_px, supersample, size_px, supersample, 3).mean(axis=(1, 3))
    return np.rint(pixels).astype(np.uint8)


def _headlight(
    mesh: Mesh,
    corners: Int[np.ndarray, "n 3"],
    weights: Float[np.ndarray, "n 3"],
    *,
    directions: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n"]:
    """Brightness under a light at the camera, both sides alike."""
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    normal = np.einsum("nk,nkc->nc", weights, normals[corners])
    length = np.maximum(np.linalg.norm(normal, axis=1), 1e-9)
    return AMBIENT + (1 - AMBIENT) * np.abs(np.einsum("nc,nc->n", normal, directions)) / length
