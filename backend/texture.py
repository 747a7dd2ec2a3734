# SPDX-License-Identifier: Apache-2.0
"""The texture of a head: generator colours everywhere, photos where they see the surface or its mirror image."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8

from backend.blend import Layer, Membrane, blend_layers
from backend.config import TextureConfig
from backend.field import Field
from backend.mesh import Mesh, vertex_normals
from backend.mirror import mirror_image
from backend.raycast import sample_bilinear
from backend.reprojection import PhotoView, Reprojection, ramp
from backend.texels import Texels, fill_gaps, rasterize_uv

POINTS_PER_CALL = 1 << 16  # Of the field.
TEXELS_PER_BLOCK = 1 << 20  # Keeps temporary arrays small.
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

    Where a photo sees the surface it is used as it is. What it shows of one half of the face also serves the other
    half, in canonical space, where the other half is not seen. Everywhere else stand the generator's colours, tinted
    to continue the photo.

    Args:
        mesh: With uv; canonical positions are the vertices where the mesh has none.
        photo_vertices: The same vertices with the photo's pose and expression, in the world of its camera.
        field: Colours by canonical position.
        photos: The main one first; they share the pose and expression of ``photo_vertices``.
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
    generated = _generated_colors(field, canonical, mesh, texels, config)
    colors = generated
    if photos or views:
        membrane = Membrane(mesh.vertices, mesh.faces, _field_colors(field, canonical))
        normals = membrane.first_copy(vertex_normals(photo_vertices, membrane.first[membrane.faces]))
        area_px = np.bincount(texels.triangle, minlength=len(mesh.faces)).astype(np.float64)
        seen, made = (
            [Reprojection(one, photo_vertices, mesh.faces, area_px) for one in looks] for looks in (photos, views)
        )
        if made:
            generated = blend_layers(membrane, texels, generated, _looks(made, texels, photo_vertices, normals))
        twin = mirror_image(canonical, mesh.faces)
        symmetry = MIRROR_TRUST * twin.trust * ramp(canonical[:, 1] / field.side, config.symmetric_above)
        layers = _looks(seen, texels, photo_vertices, normals)
        layers += _looks(seen, texels, twin.carry(photo_vertices), twin.carry(normals), trust=symmetry)
        colors = blend_layers(membrane, texels, generated, layers)
    return _to_image(texels, colors, config)


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


def _to_image(texels: Texels, colors: Float[np.ndarray, "n 3"], config: TextureConfig) -> UInt8[np.ndarray, "t t 3"]:
    size = texels.size_px
    image, is_known = np.zeros((size * size, 3), np.float32), np.zeros(size * size, bool)
    image[texels.index], is_known[texels.index] = colors, True
    filled = fill_gaps(image.reshape(size, size, 3), is_known.reshape(size, size), config.margin_px)
    return np.rint(np.clip(filled, 0, 1) * 255).astype(np.uint8)


def _field_colors(field: Field, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    colors = np.empty((len(points), 3), np.float32)
    with torch.inference_mode():
        for first in range(0, len(points), POINTS_PER_CALL):
            block = torch.from_numpy(points[first : first + POINTS_PER_CALL].astype(np.float32))
            colors[first : first + POINTS_PER_CALL] = field.color(block).cpu().numpy()
    return np.clip(colors, 0, 1)


def _generated_colors(
    field: Field, canonical: Float[np.ndarray, "v 3"], mesh: Mesh, texels: Texels, config: TextureConfig
) -> Float[np.ndarray, "n 3"]:
    """The generator's colours at the texels, enlarged from a smaller texture where that is fine enough."""
    uv = cast(np.ndarray, mesh.uv)
    if config.field_px >= config.size_px:
        return _field_colors(field, texels.interpolate(canonical))
    small = rasterize_uv(uv, mesh.faces, config.field_px)
    size = small.size_px
    image, is_known = np.zeros((size * size, 3), np.float32), np.zeros(size * size, bool)
    image[small.index], is_known[small.index] = _field_colors(field, small.interpolate(canonical)), True
    filled = fill_gaps(image.reshape(size, size, 3), is_known.reshape(size, size), 2)
    scale = size / texels.size_px
    colors = np.empty((len(texels.index), 3), np.float32)
    for first in range(0, len(colors), TEXELS_PER_BLOCK):
        row, column = np.divmod(texels.index[first : first + TEXELS_PER_BLOCK], texels.size_px)
        block = sample_bilinear(filled, (column + 0.5) * scale, (row + 0.5) * scale)
        colors[first : first + TEXELS_PER_BLOCK] = block
    return colors
