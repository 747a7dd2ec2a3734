# SPDX-License-Identifier: Apache-2.0
"""Carries a change of the generator's colours over to a texture made from a photo."""

import numpy as np
import torch
from jaxtyping import Float, UInt8

from backend.field import Field
from backend.mesh import Mesh
from backend.raycast import sample_bilinear
from backend.texels import fill_gaps, rasterize_uv

DIFFERENCE_PX = 512  # The generator's colours are smooth; the photo's detail stays.
POINTS_PER_CALL = 1 << 16


def recolor(
    texture: UInt8[np.ndarray, "t t 3"], mesh: Mesh, *, before: Field, after: Field
) -> UInt8[np.ndarray, "t t 3"]:
    """The texture as it would look had the photo shown the moved codes.

    Args:
        texture: Baked with ``before``.
        mesh: With uv and canonical positions.
        before: The head in the photo.
        after: The head whose codes were moved.
    """
    if mesh.uv is None or mesh.canonical is None:
        raise ValueError("recolor needs a mesh with uv and canonical positions")
    texels = rasterize_uv(mesh.uv, mesh.faces, DIFFERENCE_PX)
    points = torch.from_numpy(texels.interpolate(mesh.canonical).astype(np.float32))
    image = np.zeros((DIFFERENCE_PX * DIFFERENCE_PX, 3), np.float32)
    is_known = np.zeros(len(image), bool)
    image[texels.index], is_known[texels.index] = _difference(points, before, after), True
    square = (DIFFERENCE_PX, DIFFERENCE_PX)
    filled = fill_gaps(image.reshape(*square, 3), is_known.reshape(square), 4)
    size = texture.shape[0]
    place = (np.arange(size) + 0.5) * DIFFERENCE_PX / size
    x, y = np.meshgrid(place, place)
    difference = sample_bilinear(filled, x.ravel(), y.ravel()).reshape(size, size, 3)
    return np.rint(np.clip(texture / 255 + difference, 0, 1) * 255).astype(np.uint8)


def _difference(points: torch.Tensor, before: Field, after: Field) -> Float[np.ndarray, "n 3"]:
    with torch.inference_mode():
        blocks = [after.color(block) - before.color(block) for block in points.split(POINTS_PER_CALL)]
    return torch.cat(blocks).cpu().numpy()
