# SPDX-License-Identifier: Apache-2.0
"""Pictures of synthetic people, with the depth, normals and triangles that training needs beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, UInt8

from backend.camera import Camera, rays
from backend.mesh import vertex_normals
from backend.raycast import Caster
from backend.training.light import Light, linear_from_srgb, shade, srgb_from_linear, tone_map

# (triangle (n,), barycentric (n, 3)) -> sRGB albedo (n, 3) in [0, 1]
ColorOfHit = Callable[[Int[np.ndarray, "n"], Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]]

SHADOW_RAYS = 2  # For each ray of the picture.
LIFT = 2e-3  # Start of shadow rays above the surface, in radii of the mesh.


@dataclass(frozen=True)
class Subject:
    """Something to take pictures of; what all pictures share is computed once, when first needed.

    Args:
        vertices: World coordinates.
        faces: Counter-clockwise seen from outside.
        color_of_hit: sRGB albedo where a ray met a triangle.
        shine: Of each triangle: 0 is dull, 1 a wet eye; 0.25 everywhere when omitted.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    color_of_hit: ColorOfHit
    shine: Float[np.ndarray, "f"] | None = None

    @cached_property
    def caster(self) -> Caster:
        """Finds where rays meet the subject."""
        return Caster(self.vertices, self.faces)

    @cached_property
    def normals(self) -> Float[np.ndarray, "v 3"]:
        """Smooth unit vertex normals."""
        return vertex_normals(self.vertices, self.faces)

    @cached_property
    def openness(self) -> Float[np.ndarray, "v"]:
        """Share of the surrounding light that reaches each vertex, 0 to 1."""
        return ambient_occlusion(self)


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


def sphere_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """Unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    polar = np.arccos(1 - 2 * index / count)
    azimuth = np.pi * (1 + 5**0.5) * index
    return np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], axis=1)


def ambient_occlusion(subject: Subject, directions: int = 64) -> Float[np.ndarray, "v"]:
    """Share of a uniform surrounding's light that reaches each vertex, 0 to 1.

    Args:
        subject: What to light.
        directions: Spread over the whole sphere; half of them lie above a vertex.
    """
    normals = subject.normals.astype(np.float64)
    start = subject.vertices + LIFT * subject.caster.radius * normals
    received, total = np.zeros(len(start)), np.zeros(len(start))
    for direction in sphere_directions(directions):
        cosine = normals @ direction
        above = np.flatnonzero(cosine > 0)
        total[above] += cosine[above]
        blocked = subject.caster.is_blocked(start[above], np.tile(direction, (len(above), 1)), np.inf)
        received[above[~blocked]] += cosine[above[~blocked]]
    return received / np.maximum(total, 1e-9)


def render_portrait(subject: Subject, camera: Camera, light: Light, *, size_px: int, supersample: int = 2) -> Rendering:
    """A picture of the subject.

    Args:
        subject: Reuse one for all pictures of a person.
        camera: In the subject's world.
        light: In the subject's world.
        size_px: Side of the picture.
        supersample: Rays along each side of a pixel for ``rgba``.
    """
    origin, directions = rays(camera, size_px * supersample)
    flat = directions.reshape(-1, 3)
    triangle, barycentric, distance = subject.caster.first_hit(origin[None], flat)
    hit = np.flatnonzero(triangle >= 0)
    picture = np.zeros((len(flat), 4))
    if len(hit):
        points = origin + distance[hit, None] * flat[hit]
        radiance = _radiance(subject, light, triangle[hit], barycentric[hit], points=points, to_camera=-flat[hit])
        picture[hit, :3] = tone_map(np.maximum(radiance * light.exposure, 0.0))
        picture[hit, 3] = 1.0
    blocks = picture.reshape(size_px, supersample, size_px, supersample, 4).mean(axis=(1, 3))
    alpha = blocks[..., 3:]
    color = srgb_from_linear(np.clip(blocks[..., :3] / np.maximum(alpha, 1e-9), 0, 1)) * (alpha > 0)
    rgba = np.rint(np.concatenate([color, alpha], axis=-1) * 255).astype(np.uint8)
    return Rendering(rgba, *_surface_seen(subject, camera, size_px))


def _surface_seen(
    subject: Subject, camera: Camera, size_px: int
) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s 3"], Int[np.ndarray, "s s"], Float[np.ndarray, "s s 3"]]:
    """Depth, normal, triangle and barycentric weights at pixel centres."""
    origin, directions = rays(camera, size_px)
    triangle, barycentric, distance = subject.caster.first_hit(origin[None], directions.reshape(-1, 3))
    hit = triangle >= 0
    normal = np.zeros((len(triangle), 3))
    normal[hit] = _smooth_normals(subject, triangle[hit], barycentric[hit])
    depth = distance * (directions.reshape(-1, 3) @ camera.cam2world[:3, 2])
    shape = (size_px, size_px)
    return (
        depth.reshape(shape),
        normal.reshape(*shape, 3),
        triangle.reshape(shape),
        barycentric.reshape(*shape, 3),
    )


def _smooth_normals(
    subject: Subject, triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    normals = np.einsum("nk,nkc->nc", barycentric, subject.normals[subject.faces[triangle]])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)


def _radiance(
    subject: Subject,
    light: Light,
    triangle: Int[np.ndarray, "n"],
    barycentric: Float[np.ndarray, "n 3"],
    *,
    points: Float[np.ndarray, "n 3"],
    to_camera: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n 3"]:
    """Linear light from hits to the camera, before exposure."""
    normals = _smooth_normals(subject, triangle, barycentric)
    # A surface seen from behind is lit on the side that is seen.
    normals *= np.where(np.einsum("nc,nc->n", normals, to_camera) < -0.2, -1.0, 1.0)[:, None]
    openness = np.einsum("nk,nk->n", barycentric, subject.openness[subject.faces[triangle]])
    shine = np.full(len(triangle), 0.25) if subject.shine is None else subject.shine[triangle]
    return shade(
        linear_from_srgb(subject.color_of_hit(triangle, barycentric)),
        normals,
        to_camera,
        light,
        lit=_share_of_key(subject, light, points, normals),
        openness=openness,
        shine=shine,
    )


def _share_of_key(
    subject: Subject, light: Light, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n"]:
    """1 where the key light is seen, 0 in shadow; each ray aims at its own spot of the light's disc."""
    towards = np.repeat(np.flatnonzero(normals @ light.direction > -0.35), SHADOW_RAYS)
    start = points[towards] + LIFT * subject.caster.radius * normals[towards]
    # Two irrational steps spread neighbouring rays over the disc without a random generator (Roberts 2018, R2).
    index = np.arange(len(towards))
    radius = light.softness * np.sqrt((index * 0.7548776662) % 1.0)
    angle = 2 * np.pi * ((index * 0.5698402910) % 1.0)
    side = np.cross(light.direction, [0.0, 0.0, 1.0] if abs(light.direction[1]) > 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    over = np.cross(side, light.direction)
    spread = np.outer(radius * np.cos(angle), side) + np.outer(radius * np.sin(angle), over)
    is_open = ~subject.caster.is_blocked(start, light.direction + spread, np.inf)
    return np.bincount(towards, is_open / SHADOW_RAYS, minlength=len(points))


def contact_sheet(images: Sequence[UInt8[np.ndarray, "h w c"]], columns: int) -> UInt8[np.ndarray, "H W 3"]:
    """Equal pictures side by side, row by row; transparency shows grey, missing places are black.

    Raises:
        ValueError: There are no pictures.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one picture")
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        alpha = image[..., 3:] / 255.0 if image.shape[-1] == 4 else 1.0
        shown = np.rint(image[..., :3] * alpha + 128 * (1 - alpha)).astype(np.uint8)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = shown
    return sheet
