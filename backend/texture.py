# SPDX-License-Identifier: Apache-2.0
"""The texture of a head: generator colours everywhere, photos where they see the surface or its mirror image."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8

from backend.blend import Layer, Membrane, blend_layers
from backend.config import TextureConfig
from backend.field import Field
from backend.mesh import Mesh, vertex_normals
from backend.mirror import MirrorImage, mirror_image
from backend.raycast import sample_bilinear
from backend.reprojection import PhotoView, Reprojection, ramp
from backend.texels import Texels, fill_gaps, rasterize_uv

POINTS_PER_CALL = 1 << 16  # Of the field.
TEXELS_PER_BLOCK = 1 << 20  # Keeps temporary arrays small.
MERGE_POWER = 4  # Pictures from two sides never match to the pixel; their mean would blur.
# The main photo has the head's expression; at 1.3 a photo from 45 degrees beside it takes over at the cheek.
MAIN_BONUS = 1.3
GIVES_WAY = (0.5, 0.85)  # Share of the clearest look's clearness below which a look has no say, and above which all.
MIRROR_TRUST = 0.9  # Faces are symmetric in most, not all, of their detail.


def bake_texture(
    mesh: Mesh,
    photo_vertices: Float[np.ndarray, "v 3"],
    field: Field,
    *,
    photos: list[PhotoView],
    config: TextureConfig,
    views: Sequence[PhotoView] = (),
) -> UInt8[np.ndarray, "t t 3"]:
    """The sRGB texture for ``mesh.uv``.

    Where a photo sees the surface it is used as it is; of several photos mostly the one that sees it most squarely.
    What it shows of one half of the face also serves the other half, in canonical space, where the other half is not
    seen. Everywhere else stand the generator's colours, tinted to continue the photo.

    Args:
        mesh: With uv; canonical positions are the vertices where the mesh has none.
        photo_vertices: The same vertices with the main photo's pose and expression, in the world of its camera.
        field: Colours by canonical position.
        photos: The main one first; each serves where it shows the surface best.
        config: Size of the result.
        views: The generator's own pictures of the head in that pose, the most telling first, where these are sharper
            than the field's colours.

    Raises:
        ValueError: The mesh has no uv.
    """
    if mesh.uv is None:
        raise ValueError("bake_texture needs a mesh with uv")
    canonical = mesh.vertices if mesh.canonical is None else mesh.canonical
    texels = rasterize_uv(mesh.uv, mesh.faces, config.size_px)
    # The generator's colours and pictures are coarser than a photo; a smaller texture holds all that they show.
    is_fine = config.field_px >= config.size_px
    small = texels if is_fine else rasterize_uv(mesh.uv, mesh.faces, config.field_px)
    generated = _field_colors(field, small.interpolate(canonical))
    if not (photos or views):
        return _to_image(texels, _enlarged(small, generated, texels), config)
    membrane = Membrane(mesh.vertices, mesh.faces, _field_colors(field, canonical))
    if views:
        made = [_reprojection(view, photo_vertices, mesh, small) for view in views]
        own = _merged(_looks(made, small, photo_vertices, _normals(membrane, photo_vertices)))
        generated = blend_layers(membrane, small, generated, [own])
    colors = _enlarged(small, generated, texels)
    if photos:
        twin = mirror_image(canonical, mesh.faces)
        symmetry = MIRROR_TRUST * twin.trust * ramp(canonical[:, 1] / field.side, config.symmetric_above)
        seen = _photo_layers(photos, photo_vertices, mesh, membrane=membrane, texels=texels, twin=twin, trust=symmetry)
        colors = blend_layers(membrane, texels, colors, seen)
    return _to_image(texels, colors, config)


def _photo_layers(
    photos: list[PhotoView],
    photo_vertices: Float[np.ndarray, "v 3"],
    mesh: Mesh,
    *,
    membrane: Membrane,
    texels: Texels,
    twin: MirrorImage,
    trust: Float[np.ndarray, "v"],
) -> list[Layer]:
    """What photos show of the surface, and after it what they show of its mirror image, trusted so much."""
    layers, mirrored, clearness = [], [], []
    for photo in photos:
        at = photo_vertices if photo.vertices is None else photo.vertices
        normals = _normals(membrane, at)
        seen = _reprojection(photo, at, mesh, texels)
        layers += _looks([seen], texels, at, normals)
        mirrored += _looks([seen], texels, twin.carry(at), twin.carry(normals), trust=trust)
        clearness.append(photo.weight * seen.facing(texels.interpolate(at), texels.interpolate(normals)))
    return _clearest(layers, clearness) + mirrored


def _normals(membrane: Membrane, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Of the surface without its seams, so that both sides of a seam have one."""
    return membrane.first_copy(vertex_normals(vertices, membrane.first[membrane.faces]))


def _reprojection(photo: PhotoView, vertices: Float[np.ndarray, "v 3"], mesh: Mesh, texels: Texels) -> Reprojection:
    area_px = np.bincount(texels.triangle, minlength=len(mesh.faces)).astype(np.float64)
    return Reprojection(photo, vertices, mesh.faces, area_px)


def _looks(
    views: list[Reprojection],
    texels: Texels,
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    *,
    trust: Float[np.ndarray, "v"] | None = None,
) -> list[Layer]:
    """What each photo shows where the vertices stood, trusted so far."""
    points, directions = texels.interpolate(vertices), texels.interpolate(normals)
    layers = [Layer(*view.sample(points, directions)) for view in views]
    if trust is None:
        return layers
    share = texels.interpolate(trust[:, None])[:, 0]
    return [Layer(layer.colors, layer.trust * share) for layer in layers]


def _clearest(looks: list[Layer], clearness: list[Float[np.ndarray, "n"]]) -> list[Layer]:
    """The looks, each giving way where another shows the surface far more clearly; the first least."""
    if len(looks) == 1:
        return looks
    known = [look.trust * clear for look, clear in zip(looks, clearness, strict=True)]
    known[0] = known[0] * MAIN_BONUS
    most = np.maximum(np.max(known, axis=0), 1e-6)
    shares = [ramp(clear / most, GIVES_WAY).astype(np.float32) for clear in known]
    return [Layer(look.colors, look.trust * share) for look, share in zip(looks, shares, strict=True)]


def _to_image(texels: Texels, colors: Float[np.ndarray, "n 3"], config: TextureConfig) -> UInt8[np.ndarray, "t t 3"]:
    return np.rint(np.clip(_filled(texels, colors, config.margin_px), 0, 1) * 255).astype(np.uint8)


def _filled(texels: Texels, colors: Float[np.ndarray, "n 3"], margin_px: int) -> Float[np.ndarray, "t t 3"]:
    """Colours in their places, and so far around them."""
    size = texels.size_px
    image, is_known = np.zeros((size * size, 3), np.float32), np.zeros(size * size, bool)
    image[texels.index], is_known[texels.index] = colors, True
    return fill_gaps(image.reshape(size, size, 3), is_known.reshape(size, size), margin_px)


def _field_colors(field: Field, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    colors = np.empty((len(points), 3), np.float32)
    with torch.inference_mode():
        for first in range(0, len(points), POINTS_PER_CALL):
            block = torch.from_numpy(points[first : first + POINTS_PER_CALL].astype(np.float32))
            colors[first : first + POINTS_PER_CALL] = field.color(block).cpu().numpy()
    return np.clip(colors, 0, 1)


def _merged(looks: list[Layer]) -> Layer:
    """Looks that show the same head in the same light as one: nearly everywhere the most trusted of them."""
    total = np.zeros_like(looks[0].colors)
    weight, trust = np.zeros_like(looks[0].trust), np.zeros_like(looks[0].trust)
    for look in looks:
        share = look.trust**MERGE_POWER
        total += share[:, None] * look.colors
        weight += share
        trust = np.maximum(trust, look.trust)
    colors = np.divide(total, weight[:, None], out=np.zeros_like(total), where=weight[:, None] > 0)
    return Layer(colors, trust)


def _enlarged(small: Texels, colors: Float[np.ndarray, "n 3"], texels: Texels) -> Float[np.ndarray, "m 3"]:
    """Colours of a smaller texture at the texels of the larger one."""
    if small is texels:
        return colors
    filled, scale = _filled(small, colors, 2), small.size_px / texels.size_px
    enlarged = np.empty((len(texels.index), 3), np.float32)
    for first in range(0, len(enlarged), TEXELS_PER_BLOCK):
        row, column = np.divmod(texels.index[first : first + TEXELS_PER_BLOCK], texels.size_px)
        block = sample_bilinear(filled, (column + 0.5) * scale, (row + 0.5) * scale)
        enlarged[first : first + TEXELS_PER_BLOCK] = block
    return enlarged
