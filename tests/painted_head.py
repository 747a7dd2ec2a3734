# SPDX-License-Identifier: Apache-2.0
"""A head-like ball with a nose, painted by formula, and photos of it: truth for the texture tests."""

import numpy as np
import torch

from backend.camera import Camera, look_at_camera
from backend.mesh import Mesh, vertex_normals
from backend.raycast import render_mesh
from backend.reprojection import PhotoView
from backend.texels import fill_gaps, rasterize_uv

SHAPE = np.array([0.8, 1.0, 0.9])
MAGENTA = (255, 0, 255)
SKIN, HAIR = np.array([0.62, 0.50, 0.42]), np.array([0.20, 0.14, 0.10])
TINT = np.array([1.15, 0.95, 0.85])


def painted_head(rows: int = 48, columns: int = 96) -> Mesh:
    """A ball with a nose towards +z; the uv seam runs down the back."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(-np.pi, np.pi, columns + 1), indexing="ij")
    unit = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1)
    unit[:, -1], unit[0], unit[-1] = unit[:, 0], (0, 1, 0), (0, -1, 0)
    nose = np.exp(-((unit[..., 0] / 0.12) ** 2 + (unit[..., 1] / 0.25) ** 2)) * (unit[..., 2] > 0)
    vertices = (unit * (1 + 0.12 * nose[..., None]) * SHAPE).reshape(-1, 3).astype(np.float32)
    uv = np.stack([0.03 + 0.94 * (around / (2 * np.pi) + 0.5), 0.03 + 0.94 * polar / np.pi], axis=-1).reshape(-1, 2)
    vertex = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    a, b, c, d = vertex[:-1, :-1], vertex[1:, :-1], vertex[1:, 1:], vertex[:-1, 1:]
    upper, lower = np.stack([a, c, d], axis=-1)[1:], np.stack([a, b, c], axis=-1)[:-1]
    faces = np.concatenate([upper.reshape(-1, 3), lower.reshape(-1, 3)])
    _, first, place = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    first_copy = first[place.reshape(-1)]
    normals = vertex_normals(vertices, first_copy[faces])[first_copy]
    return Mesh(vertices, faces, normals, uv.astype(np.float32), vertices)


def _step(values, low, high):
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def generator_paint(points: np.ndarray) -> np.ndarray:
    """Skin below a slanted hair line, with two pale eyes."""
    hair = _step(points[:, 1] - 0.54 * points[:, 2], 0.15, 0.25)[:, None]
    colors = SKIN * (1 - hair) + HAIR * hair
    for side in (-1, 1):
        away = np.hypot(points[:, 0] - 0.3 * side, 1.5 * (points[:, 1] - 0.2))
        eye = _step(0.12 - away, 0, 0.03)[:, None] * (points[:, 2:] > 0)
        colors = colors * (1 - eye) + 0.75 * eye
    return colors


def true_paint(points: np.ndarray) -> np.ndarray:
    """The generator's paint in another tint, with freckles that mirror onto themselves."""
    freckles = np.sin(30 * points[:, :1] ** 2 + 3) * np.sin(40 * points[:, 1:2]) * np.sin(30 * points[:, 2:])
    return np.clip(generator_paint(points) * TINT + 0.1 * freckles, 0, 1)


class PaintedField:
    """The painted head as a generator's field."""

    side = 2.6
    level = 1.0

    def __init__(self, paint=generator_paint):
        self.paint = paint

    def density(self, points):
        return (2 - points.norm(dim=1)).clamp(min=0)

    def color(self, points):
        return torch.from_numpy(self.paint(points.numpy().astype(np.float64)).astype(np.float32))


def painted_texture(mesh: Mesh, paint, size_px: int) -> np.ndarray:
    """A paint baked texel by texel."""
    texels = rasterize_uv(mesh.uv, mesh.faces, size_px)
    image, known = np.zeros((size_px * size_px, 3), np.float32), np.zeros(size_px * size_px, bool)
    image[texels.index], known[texels.index] = paint(texels.interpolate(mesh.canonical).astype(np.float64)), True
    filled = fill_gaps(image.reshape(size_px, size_px, 3), known.reshape(size_px, size_px), 4)
    return np.rint(filled * 255).astype(np.uint8)


def camera_at(yaw_deg: float) -> Camera:
    return look_at_camera(yaw_deg=yaw_deg, pitch_deg=0, distance=6, focal=2.2)


def photo_of(
    mesh: Mesh, texture: np.ndarray, yaw_deg: float, *, size_px: int = 512, portrait_px: int = 256
) -> PhotoView:
    """A photo before pure magenta, with a perfect matte."""
    camera = camera_at(yaw_deg)
    pixels = render_mesh(mesh, texture, camera, size_px, background=MAGENTA)
    white = np.full((2, 2, 3), 255, np.uint8)
    matte = render_mesh(mesh, white, camera, portrait_px, background=(0, 0, 0))[..., 0] / 255.0
    scale = portrait_px / size_px
    return PhotoView(pixels, np.diag([scale, scale, 1.0]), portrait_px, camera, matte)
