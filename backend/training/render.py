# SPDX-License-Identifier: Apache-2.0
"""Pictures of synthetic people, with the depth, normals and triangles that training needs beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt32

from backend.camera import Camera, directions_through, rays
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
DISC_SPOTS, GOLDEN = 1 << 16, 0.618034
DULL = 0.06  # Shine below which no lamp is reflected.
OPAQUE, SEEN = 0.98, 0.5
VISIBLE = 0.15  # Difference of square roots of linear light, from which more rays are worth it.
SPREAD = 1.2  # Rays beside the centre lie so much further out than the middles of a pixel's quarters.
BELOW_HAIR, THICK_HAIR = 0.16, 0.03  # In radii of the mesh.


def render_portrait(subject: Subject, camera: Camera, light: Light, *, size_px: int, supersample: int = 2) -> Rendering:
    """A picture of the subject.

    Args:
        subject: Reuse one for all pictures of a person.
        camera: In the subject's world.
        light: In the subject's world.
        size_px: Side of the picture.
        supersample: Rays along each side of a pixel for ``rgba``, beside the one through its centre, where neighbouring
            pixels differ; elsewhere the centre does.

    Source:
        Whitted 1980, An improved illumination model for shaded display, section 4 (adaptive supersampling).
    """
    shadow_rays = SHADOW_RAYS if size_px < LARGE_PX else MANY_SHADOW_RAYS
    lighting = _Lighting(subject, light)
    origin, directions = rays(camera, size_px)
    spacing = float(1 / (camera.intrinsics[0, 0] * size_px))
    cast = _Cast(subject, origin, spacing, shadow_rays)
    samples, met = _colors_along(cast, directions.reshape(-1, 3), lighting)
    if supersample > 1:
        rough = np.flatnonzero(_differs(samples.reshape(size_px, size_px, 5)))
        around = _around_centre(supersample)
        places = np.stack(np.divmod(rough, size_px)[::-1], axis=1)[:, None] + 0.5 + around
        cast = _Cast(subject, origin, spacing / supersample, max(1, shadow_rays // supersample**2))
        more, _ = _colors_along(cast, directions_through(camera, places.reshape(-1, 2) / size_px), lighting)
        more = more.reshape(len(rough), len(around), 5)
        samples[rough] = sum((more[:, ray] for ray in range(len(around))), samples[rough]) / (len(around) + 1)
    thin = samples[:, 4] < SEEN
    rgba = _bytes(samples).reshape(size_px, size_px, 4)
    seen = _surface_seen(camera, rgba, directions, met)
    return _looked_through(subject, seen, thin.reshape(size_px, size_px), camera, directions)


@lru_cache(maxsize=4)
def _around_centre(side: int) -> Float[np.ndarray, "r 2"]:
    """A grid of ``side`` times ``side`` places in a pixel, from its centre, pixels."""
    steps = SPREAD * ((np.arange(side) + 0.5) / side - 0.5)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def _differs(samples: Float[np.ndarray, "s s 5"]) -> Bool[np.ndarray, "s s"]:
    """Pixels that differ visibly from a neighbour."""
    shown = np.sqrt(np.ascontiguousarray(samples[..., :4].transpose(2, 0, 1)))
    least = most = np.pad(shown, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for axis in (1, 2):
        least, most = _over_three(np.minimum, least, axis), _over_three(np.maximum, most, axis)
    return (most - least > VISIBLE).any(0)


def _over_three(choose: np.ufunc, values: Float[np.ndarray, "c h w"], axis: int) -> Float[np.ndarray, "c i j"]:
    """The least or the most of each value and its two neighbours along an axis."""
    rows = np.moveaxis(values, axis, 0)
    return np.moveaxis(choose(choose(rows[:-2], rows[1:-1]), rows[2:]), 0, axis)


def _bytes(samples: Float[np.ndarray, "n 5"]) -> UInt8[np.ndarray, "n 4"]:
    """sRGB that is not premultiplied, and opacity."""
    color, alpha = np.asfortranarray(samples[:, :3]), samples[:, 3]
    shown = srgb_from_linear(np.clip(color / np.maximum(alpha, 1e-6)[:, None], 0, 1)) * (alpha > 0)[:, None]
    rgba = np.empty((len(samples), 4), np.uint8)
    rgba[:, :3], rgba[:, 3] = np.rint(shown * 255), np.rint(alpha * 255)
    return rgba


class _Met(NamedTuple):
    """What rays met: triangle or -1, barycentric weights, distance, rows that met something, and what those know."""

    triangle: Int[np.ndarray, "n"]
    barycentric: Float[np.ndarray, "n 3"]
    distance: Float[np.ndarray, "n"]
    where: Int[np.ndarray, "h"]
    hits: Hits


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

    def first(self, directions: Float[np.ndarray, "n 3"]) -> _Met:
        """What rays meet first."""
        return self._met(directions, *self.subject.caster.first_hit(self.origin[None], directions))

    def behind(self, directions: Float[np.ndarray, "n 3"]) -> _Met:
        """What rays meet that pass through hair and lenses."""
        solid, barycentric, distance = self.subject.solid_caster.first_hit(self.origin[None], directions)
        triangle = np.append(self.subject.solid_faces, -1)[solid]  # -1 stays -1.
        return self._met(directions, triangle, barycentric, distance)

    def _met(
        self, directions: Float[np.ndarray, "n 3"],
        triangle: Int[np.ndarray, "n"], barycentric: Float[np.ndarray, "n 3"], distance: Float[np.ndarray, "n"],
    ) -> _Met:  # fmt: skip
        where = np.flatnonzero(triangle >= 0)
        known = Rays(self.origin, directions.take(where, axis=0), distance.take(where), self.spacing)
        hits = self.subject.hits(triangle.take(where), barycentric.take(where, axis=0), known)
        return _Met(triangle, barycentric, distance, where, hits)


def _colors_along(
    cast: _Cast, directions: Float[np.ndarray, "n 3"], lighting: "_Lighting"
) -> tuple[Float[np.ndarray, "n 5"], _Met]:
    """Colours along rays, and what they met first.

    Colours are premultiplied, linear and tone-mapped, with opacity, and how much the first thing hides.
    """
    met = cast.first(directions)
    hits, where = met.hits, met.where
    surface = cast.subject.surface_of_hit(hits)
    found = np.zeros((len(directions), 5), np.float32)
    found[where, 4] = 1.0
    if surface.opacity is None:
        reach = lighting.reach(hits, surface, cast.shadow_rays)
        found[where, :4] = lighting.premultiplied(hits, surface, reach)
        return found, met
    chosen = np.flatnonzero(surface.opacity < OPAQUE)
    behind = cast.behind(directions.take(where.take(chosen), axis=0))
    to_solid = behind.distance - met.distance.take(where.take(chosen))
    surface.opacity[_before_thick_hair(cast.subject, hits, chosen, to_solid)] = 1
    reach = lighting.reach(hits, surface, cast.shadow_rays)
    found[where, :4] = lighting.premultiplied(hits, surface, reach)
    found[where, 4] = np.where(hits.kind == CLEAR, 0.0, surface.opacity)
    before = chosen.take(behind.where)
    below = cast.subject.surface_of_hit(behind.hits)
    # Skin below hair that lets light through to it is lit as the hair is.
    gap = np.linalg.norm(behind.hits.points - hits.points.take(before, axis=0), axis=1)
    is_near = gap < BELOW_HAIR * cast.subject.caster.radius
    shared = lighting.reach(behind.hits, below, cast.shadow_rays).at_least(reach.chosen(before), is_near)
    rows = where.take(before)
    found[rows, :4] += lighting.premultiplied(behind.hits, below, shared) * (1 - found[rows, 3:4])
    return found, met


def _before_thick_hair(
    subject: Subject, hits: Hits, gaps: Int[np.ndarray, "m"], to_solid: Float[np.ndarray, "m"]
) -> Int[np.ndarray, "t"]:
    """Which gaps between strands lead into thick hair: more of it is seen there, and not what lies behind it.

    Args:
        subject: What was hit.
        hits: On strands, and on lenses, which stay clear.
        gaps: Rows of them that let light through.
        to_solid: How far from there the next solid thing is, world units; infinite if there is none.
    """
    thick = THICK_HAIR * subject.caster.radius
    deep = (to_solid > thick) & (hits.kind.take(gaps) != CLEAR)
    rows = gaps[deep]
    ahead = -hits.to_camera.take(rows, axis=0)
    inside = hits.points.take(rows, axis=0) + np.float32(LIFT * subject.caster.radius) * ahead
    _, _, through = subject.caster.first_hit(inside, ahead)
    return rows[np.isfinite(through) & (through > thick) & (through < to_solid[deep] - thick)]


def _surface_seen(
    camera: Camera, rgba: UInt8[np.ndarray, "s s 4"], directions: Float[np.ndarray, "s s 3"], met: _Met
) -> Rendering:
    """The picture with depth, normals, triangles and barycentric weights of first hits at pixel centres."""
    shape = rgba.shape[:2]
    depth = met.distance.reshape(shape) * (directions @ camera.cam2world[:3, 2])
    normal = np.zeros((len(met.triangle), 3))
    normal[met.where] = met.hits.outward
    barycentric = met.barycentric.reshape(*shape, 3)
    return Rendering(rgba, depth, normal.reshape(*shape, 3), met.triangle.reshape(shape), barycentric)


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
        normals, surround = self.normals.take(rows, axis=0), self.surround.take(rows, axis=0)
        return _Reach(normals, surround, self.openness.take(rows), self.lit.take(rows))

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
        around = self.subject.between_corners(self._at_vertices, hits.triangle, hits.barycentric)
        normals = hits.normals
        if surface.tilt is not None:
            normals = normals + surface.tilt
            normals /= np.sqrt(np.einsum("nc,nc->n", normals, normals))[:, None]
        facing = normals @ self.direction
        return _Reach(normals, around[:, :3], around[:, 3], self._lit(hits, facing, shadow_rays))

    def premultiplied(self, hits: Hits, surface: Surface, reach: _Reach) -> Float[np.ndarray, "n 4"]:
        """Tone-mapped linear colour times opacity, and opacity."""
        opacity = np.ones(len(hits.triangle), np.float32) if surface.opacity is None else surface.opacity
        # Column by column, numpy works along the hits and not along the three colours.
        albedo, surround = np.asfortranarray(surface.albedo), np.asfortranarray(reach.surround)
        key = self.key * key_share(reach.normals @ self.direction, reach.lit)
        diffuse = albedo * (key + bounce(albedo, surround, reach.openness))
        gloss = surround * self._sheen(hits, surface, reach)[:, None]
        clear, tinted = self._mirrored(hits, surface, reach)
        gloss += clear + albedo * tinted
        # A lens reflects all the same where it lets the rest pass.
        gloss *= np.where(hits.kind == CLEAR, np.float32(1), opacity)[:, None]
        color = np.maximum((diffuse * opacity[:, None] + gloss) * self.light.exposure, 0)
        cover = np.maximum(opacity, np.minimum(gloss.max(1), 1))[:, None]
        return np.concatenate([tone_map(color / np.maximum(cover, 1e-3)) * cover, cover], axis=1)

    def _sheen(self, hits: Hits, surface: Surface, reach: _Reach) -> Float[np.ndarray, "n"]:
        """Share of the surrounding light that is reflected as by a blurred mirror."""
        across = 1 - np.abs(np.einsum("nc,nc->n", reach.normals, hits.to_camera))
        return 0.015 * surface.shine * (1 + 8 * across**5)

    def _mirrored(
        self, hits: Hits, surface: Surface, reach: _Reach
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """Light of key and lamps reflected in their own colour, and what is to be tinted by the albedo."""
        # Lamps have no shadow rays; where little of the surroundings is seen, little of them is.
        sources = [(self.direction, self.key, reach.lit)]
        for lamp in self.light.lamps:
            sources.append((lamp.direction.astype(np.float32), lamp.color.astype(np.float32), reach.openness**2))
        clear, tinted = np.zeros((2, len(sources), len(hits.triangle)), np.float32)
        shiny = np.flatnonzero(surface.shine > DULL)
        shine = surface.shine.take(shiny)
        normals, to_camera = (np.asfortranarray(each.take(shiny, axis=0)) for each in (reach.normals, hits.to_camera))
        for number, (direction, _, share) in enumerate(sources):
            clear[number, shiny] = skin_highlight(normals, to_camera, direction, shine) * share.take(shiny)
        if surface.strand is not None:
            rows, strand, shift = surface.strand
            to_camera = np.asfortranarray(hits.to_camera.take(rows, axis=0))
            for number, (direction, _, share) in enumerate(sources):
                first, second = strand_highlight(strand, to_camera, direction, shift)
                above = np.clip((hits.normals @ direction).take(rows) + 0.35, 0, 1) * share.take(rows)
                clear[number, rows] = 0.035 * first * above
                tinted[number, rows] = 0.55 * second * above
        colors = np.stack([color for _, color, _ in sources], axis=1)
        return (colors @ clear).T, (colors @ tinted).T

    def _lit(self, hits: Hits, facing: Float[np.ndarray, "n"], shadow_rays: int) -> Float[np.ndarray, "n"]:
        """1 where the key light is seen, 0 in shadow; each ray aims at its own spot of the light's disc."""
        direction = self.light.direction
        towards = np.flatnonzero(facing > -0.35)
        lift = LIFT * self.subject.caster.radius
        start = hits.points.take(towards, axis=0) + np.float32(lift) * hits.normals.take(towards, axis=0)
        side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[1]) > 0.9 else [0.0, 1.0, 0.0])
        side /= np.linalg.norm(side)
        over = np.cross(side, direction)
        disc = np.resize(_spots_of_disc(shadow_rays), (len(towards) * shadow_rays, 2))
        spread = disc @ (self.light.softness * np.stack([side, over])).astype(np.float32)
        start = np.repeat(start, shadow_rays, axis=0)
        is_open = ~self.subject.light_caster.is_blocked(start, self.direction + spread, np.inf)
        share = np.zeros(len(facing), np.float32)
        share[towards] = is_open.reshape(len(towards), shadow_rays).mean(1, dtype=np.float32)
        return share


@lru_cache(maxsize=8)
def _spots_of_disc(rays: int) -> Float[np.ndarray, "n 2"]:
    """Places in the unit disc for many hits, so many for each one after another; well spread for each, not for all."""
    hit, ray = np.divmod(np.arange(DISC_SPOTS // rays * rays, dtype=np.uint32), np.uint32(rays))
    radius = np.sqrt((_scattered(hit) + GOLDEN * ray) % 1.0)
    angle = 2 * np.pi * (_scattered(hit + np.uint32(0x9E3779B9)) + ray / rays)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


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
