# SPDX-License-Identifier: Apache-2.0
"""Pictures of synthetic people, with the depth, normals and triangles that training needs beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt32
from scipy.ndimage import maximum_filter, minimum_filter

from backend.camera import Camera, rays
from backend.training.light import (
    Light,
    bounce,
    key_share,
    skin_highlight,
    srgb_from_linear,
    strand_highlight,
    surroundings,
    tone_map,
)
from backend.training.subject import CLEAR, LIFT, SOLID, Hits, Rays, Rendering, Subject, Surface, smooth_normals

SHADOW_RAYS, MANY_SHADOW_RAYS, LARGE_PX = 2, 12, 256  # For each pixel, of small and of large pictures.
DULL = 0.06  # Shine below which no lamp is reflected.
OPAQUE, SEEN = 0.98, 0.5
VISIBLE = 0.08  # Difference of square roots of linear light, from which more rays are worth it.
BELOW_HAIR = 0.08  # In radii of the mesh.


def render_portrait(subject: Subject, camera: Camera, light: Light, *, size_px: int, supersample: int = 2) -> Rendering:
    """A picture of the subject.

    Args:
        subject: Reuse one for all pictures of a person.
        camera: In the subject's world.
        light: In the subject's world.
        size_px: Side of the picture.
        supersample: Rays along each side of a pixel for ``rgba`` where neighbouring pixels differ; elsewhere one does.

    Source:
        Whitted 1980, An improved illumination model for shaded display, section 4 (adaptive supersampling).
    """
    shadow_rays = SHADOW_RAYS if size_px < LARGE_PX else MANY_SHADOW_RAYS
    lighting = _Lighting(subject, light)
    origin, directions = rays(camera, size_px)
    spacing = float(1 / (camera.intrinsics[0, 0] * size_px))
    cast = _Cast(subject, origin, spacing, shadow_rays)
    colors, hits, where, distance = _colors_along(cast, directions.reshape(-1, 3), lighting)
    samples = colors.reshape(size_px, size_px, 5)
    if supersample > 1:
        row, column = np.nonzero(_differs(samples))
        fine = rays(camera, size_px * supersample)[1].reshape(size_px, supersample, size_px, supersample, 3)
        chosen = fine[row, :, column].reshape(-1, 3)
        cast = _Cast(subject, origin, spacing / supersample, max(1, shadow_rays // supersample**2))
        samples[row, column] = _colors_along(cast, chosen, lighting)[0].reshape(len(row), supersample**2, 5).mean(1)
    alpha = samples[..., 3:4]
    color = srgb_from_linear(np.clip(samples[..., :3] / np.maximum(alpha, 1e-6), 0, 1)) * (alpha > 0)
    rgba = np.rint(np.concatenate([color, alpha], axis=-1) * 255).astype(np.uint8)
    seen = _surface_seen(subject, camera, rgba, directions, (hits, where, distance))
    return _looked_through(subject, seen, samples[..., 4] < SEEN, camera, directions)


def _differs(samples: Float[np.ndarray, "s s 5"]) -> Bool[np.ndarray, "s s"]:
    """Pixels that differ visibly from a neighbour."""
    shown = np.sqrt(samples[..., :4])
    window = (3, 3, 1)
    return ((maximum_filter(shown, window) - minimum_filter(shown, window)) > VISIBLE).any(-1)


@dataclass(frozen=True)
class _Cast:
    """Rays from one point.

    Args:
        subject: What they meet.
        origin: Where they start.
        spacing: Angle between neighbouring rays, radians.
        shadow_rays: Towards the key light, for each.
    """

    subject: Subject
    origin: Float[np.ndarray, "3"]
    spacing: float
    shadow_rays: int

    def first(self, directions: Float[np.ndarray, "n 3"]) -> tuple[Hits, Int[np.ndarray, "h"], Float[np.ndarray, "h"]]:
        """What rays meet first, which rays meet something, and how far away."""
        triangle, barycentric, distance = self.subject.caster.first_hit(self.origin[None], directions)
        where = np.flatnonzero(triangle >= 0)
        met = Rays(self.origin, directions[where], distance[where], self.spacing)
        return self.subject.hits(triangle[where], barycentric[where], met), where, distance[where]

    def behind(self, directions: Float[np.ndarray, "n 3"]) -> tuple[Hits, Int[np.ndarray, "h"]]:
        """The same for rays that pass through hair and lenses."""
        triangle, barycentric, distance = self.subject.solid_caster.first_hit(self.origin[None], directions)
        where = np.flatnonzero(triangle >= 0)
        met = Rays(self.origin, directions[where], distance[where], self.spacing)
        return self.subject.hits(self.subject.solid_faces[triangle[where]], barycentric[where], met), where


def _colors_along(
    cast: _Cast, directions: Float[np.ndarray, "n 3"], lighting: "_Lighting"
) -> tuple[Float[np.ndarray, "n 5"], Hits, Int[np.ndarray, "h"], Float[np.ndarray, "h"]]:
    """Colours along rays, and what ``_Cast.first`` found.

    Colours are premultiplied, linear and tone-mapped, with opacity, and how much the first thing hides.
    """
    hits, where, distance = cast.first(directions)
    surface = cast.subject.surface_of_hit(hits)
    reach = lighting.reach(hits, surface, cast.shadow_rays)
    found = np.zeros((len(directions), 5), np.float32)
    found[where, :4] = lighting.premultiplied(hits, surface, reach)
    found[where, 4] = 1.0
    if surface.opacity is None:
        return found, hits, where, distance
    found[where, 4] = np.where(hits.kind == CLEAR, 0.0, surface.opacity)
    chosen = np.flatnonzero(surface.opacity < OPAQUE)
    behind, among = cast.behind(directions[where[chosen]])
    before = chosen[among]
    below = cast.subject.surface_of_hit(behind)
    # Skin just below hair that lets light through to it is lit as the hair is.
    is_near = np.linalg.norm(behind.points - hits.points[before], axis=1) < BELOW_HAIR * cast.subject.caster.radius
    shared = lighting.reach(behind, below, cast.shadow_rays).at_least(reach.chosen(before), is_near)
    found[where[before], :4] += lighting.premultiplied(behind, below, shared) * (1 - found[where[before], 3:4])
    return found, hits, where, distance


def _surface_seen(
    subject: Subject,
    camera: Camera,
    rgba: UInt8[np.ndarray, "s s 4"],
    directions: Float[np.ndarray, "s s 3"],
    met: tuple[Hits, Int[np.ndarray, "h"], Float[np.ndarray, "h"]],
) -> Rendering:
    """The picture with depth, normals, triangles and barycentric weights of first hits at pixel centres."""
    hits, where, distance = met
    shape = rgba.shape[:2]
    depth, triangle = np.full(rgba[..., 0].size, np.inf), np.full(rgba[..., 0].size, -1)
    normal, barycentric = np.zeros((len(depth), 3)), np.zeros((len(depth), 3))
    depth[where] = distance * (directions.reshape(-1, 3)[where] @ camera.cam2world[:3, 2])
    triangle[where], barycentric[where] = hits.triangle, hits.barycentric
    normal[where] = smooth_normals(subject, hits.triangle, hits.barycentric)
    return Rendering(
        rgba, depth.reshape(shape), normal.reshape(*shape, 3), triangle.reshape(shape), barycentric.reshape(*shape, 3)
    )


def _looked_through(
    subject: Subject,
    seen: Rendering,
    thin: Bool[np.ndarray, "s s"],
    camera: Camera,
    directions: Float[np.ndarray, "s s 3"],
) -> Rendering:
    """The same with what lies behind, where hair is thin, and behind lenses."""
    row, column = np.nonzero(thin & (seen.triangle >= 0) & (subject.kind[seen.triangle] != SOLID))
    chosen = directions[row, column]
    solid, barycentric, distance = subject.solid_caster.first_hit(camera.position[None], chosen)
    hit = solid >= 0
    seen.triangle[row, column] = np.append(subject.solid_faces, -1)[solid]  # -1 stays -1.
    seen.barycentric[row, column] = barycentric
    seen.depth[row, column] = distance * (chosen @ camera.cam2world[:3, 2])
    seen.normal[row, column] = 0
    seen.normal[row[hit], column[hit]] = smooth_normals(subject, seen.triangle[row[hit], column[hit]], barycentric[hit])
    return seen


@dataclass(frozen=True)
class _Reach:
    """Light that reaches hits.

    Args:
        normals: With pores and strands.
        surround: From the surroundings.
        openness: Share of the surroundings that is seen.
        lit: Share of the key light that is not in shadow.
    """

    normals: Float[np.ndarray, "n 3"]
    surround: Float[np.ndarray, "n 3"]
    openness: Float[np.ndarray, "n"]
    lit: Float[np.ndarray, "n"]

    def chosen(self, rows: Int[np.ndarray, "m"]) -> "_Reach":
        return _Reach(self.normals[rows], self.surround[rows], self.openness[rows], self.lit[rows])

    def at_least(self, other: "_Reach", where: Bool[np.ndarray, "n"]) -> "_Reach":
        """The brighter of both, where asked."""
        return _Reach(
            self.normals,
            np.where(where[:, None], np.maximum(self.surround, other.surround), self.surround),
            np.where(where, np.maximum(self.openness, other.openness), self.openness),
            np.where(where, np.maximum(self.lit, other.lit), self.lit),
        )


class _Lighting:
    """One light on one subject.

    Args:
        subject: What is lit.
        light: The light.
    """

    def __init__(self, subject: Subject, light: Light) -> None:
        self.subject, self.light = subject, light
        self.direction, self.key = light.direction.astype(np.float32), light.key.astype(np.float32)
        sky = surroundings(light, subject.sky)
        self._at_vertices = np.concatenate([subject.surround(sky), subject.openness[:, None]], axis=1)

    def reach(self, hits: Hits, surface: Surface, shadow_rays: int) -> _Reach:
        """What light arrives at hits."""
        corners = self.subject.faces[hits.triangle]
        around = np.einsum("nk,nkc->nc", hits.barycentric, self._at_vertices[corners])
        normals = hits.normals
        if surface.tilt is not None:
            normals = normals + surface.tilt
            normals /= np.sqrt(np.einsum("nc,nc->n", normals, normals))[:, None]
        facing = normals @ self.direction
        return _Reach(normals, around[:, :3], around[:, 3], self._lit(hits, facing, shadow_rays))

    def premultiplied(self, hits: Hits, surface: Surface, reach: _Reach) -> Float[np.ndarray, "n 4"]:
        """Tone-mapped linear colour times opacity, and opacity."""
        opacity = np.ones(len(hits.triangle), np.float32) if surface.opacity is None else surface.opacity
        facing = reach.normals @ self.direction
        key = self.key * key_share(facing, reach.lit)
        diffuse = surface.albedo * (key + bounce(surface.albedo, reach.surround, reach.openness))
        # A lens reflects all the same where it lets the rest pass.
        gloss = self._gloss(hits, surface, reach) * np.where(hits.kind == CLEAR, 1.0, opacity)[:, None]
        color = np.maximum((diffuse * opacity[:, None] + gloss) * self.light.exposure, 0)
        cover = np.maximum(opacity, np.minimum(gloss.max(1), 1))[:, None]
        return np.concatenate([tone_map(color / np.maximum(cover, 1e-3)) * cover, cover], axis=1)

    def _gloss(self, hits: Hits, surface: Surface, reach: _Reach) -> Float[np.ndarray, "n 3"]:
        """Light reflected as by a mirror, more or less blurred."""
        normals = reach.normals
        across = 1 - np.abs(np.einsum("nc,nc->n", normals, hits.to_camera))
        gloss = reach.surround * (0.015 * surface.shine * (1 + 8 * across**5))[:, None]
        # Lamps have no shadow rays; where little of the surroundings is seen, little of them is.
        sources = [(self.direction, self.key, reach.lit)]
        for lamp in self.light.lamps:
            sources.append((lamp.direction.astype(np.float32), lamp.color.astype(np.float32), reach.openness**2))
        shiny = np.flatnonzero(surface.shine > DULL)
        for direction, color, share in sources:
            strength = skin_highlight(normals[shiny], hits.to_camera[shiny], direction, surface.shine[shiny])
            gloss[shiny] += np.outer(strength * share[shiny], color)
        self._add_hair_gloss(gloss, hits, surface, sources)
        return gloss

    def _add_hair_gloss(
        self, gloss: Float[np.ndarray, "n 3"], hits: Hits, surface: Surface,
        sources: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    ) -> None:  # fmt: skip
        if surface.strand is None:
            return
        rows, strand, shift = surface.strand
        for direction, color, share in sources:
            first, second = strand_highlight(strand, hits.to_camera[rows], direction, shift)
            above = np.clip(hits.normals[rows] @ direction + 0.35, 0, 1) * share[rows]
            tinted = surface.albedo[rows] * (0.55 * second * above)[:, None] + (0.035 * first * above)[:, None]
            gloss[rows] += tinted * color

    def _lit(self, hits: Hits, facing: Float[np.ndarray, "n"], shadow_rays: int) -> Float[np.ndarray, "n"]:
        """1 where the key light is seen, 0 in shadow; each ray aims at its own spot of the light's disc."""
        direction = self.light.direction
        towards = np.repeat(np.flatnonzero(facing > -0.35), shadow_rays)
        start = hits.points[towards] + LIFT * self.subject.caster.radius * hits.normals[towards]
        index = np.arange(len(towards), dtype=np.uint32)
        radius = self.light.softness * np.sqrt(_scattered(index))
        angle = 2 * np.pi * _scattered(index + np.uint32(0x9E3779B9))
        side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[1]) > 0.9 else [0.0, 1.0, 0.0])
        side /= np.linalg.norm(side)
        over = np.cross(side, direction)
        spread = np.outer(radius * np.cos(angle), side) + np.outer(radius * np.sin(angle), over)
        is_open = ~self.subject.light_caster.is_blocked(start, direction + spread, np.inf)
        share = np.bincount(towards, is_open / shadow_rays, minlength=len(facing))
        return share.astype(np.float32)


def _scattered(index: UInt32[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Numbers in [0, 1) without order, the same on every machine (Wang's integer hash)."""
    index = (index ^ np.uint32(61)) ^ (index >> np.uint32(16))
    index = index * np.uint32(9)
    index = (index ^ (index >> np.uint32(4))) * np.uint32(0x27D4EB2D)
    return (index ^ (index >> np.uint32(15))).astype(np.float64) / 2.0**32


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
