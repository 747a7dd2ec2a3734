# SPDX-License-Identifier: Apache-2.0
"""One UV layout for a head: an unrolled main chart, and small charts for what it cannot show; the door to xatlas."""

from dataclasses import dataclass, replace

import numpy as np
import xatlas
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve

from backend.cylinder import Unrolled, face_parts, unroll
from backend.mesh import Mesh, directed_edges
from backend.packing import pack_strip
from backend.texels import rasterize_uv

GAP = 5 / 1024  # Between charts; at least 4 texels of a 1K texture.
MAIN_HEIGHT = 0.8
SEAM_TEETH = 0.03  # So far, in turns around the axis, may faces stick out over the seam.
BASE_DENSITY = 0.4  # Against the face; nobody looks at the cut.
THIN = 0.15  # A main-chart face squeezed below this share of the usual density moves to a chart of its own.
SMALL_PATCH = 80  # Faces; folds up to this size are ironed out in the main chart.
FEW_THIN = 8  # Faces; so few squeezed ones stay.
ISLAND = 200  # Faces; smaller islands leave the main chart.
ROUGH_PX, CHECK_PX = 1024, 2048
TEXELS_PER_UNIT = 2048.0


@dataclass(frozen=True)
class _Surface:
    """The mesh in canonical space and how it is unrolled."""

    points: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    unrolled: Unrolled


@dataclass(frozen=True)
class _Chart:
    """Faces with their corners in the plane, in canonical units times the chart's density."""

    faces: Int[np.ndarray, "n"]
    corners: Float[np.ndarray, "n 3 2"]


def unwrap_uv(mesh: Mesh) -> Mesh:
    """The mesh with one UV layout without overlaps, vertices split along its seams.

    The main chart is the head unrolled around its axis, seam at the back, crown above, the face's texels denser. It
    fills the upper part of the square; crown, base, and what lies hidden behind ears or in folds fill the rest.

    Args:
        mesh: Closed; its canonical positions, or else its vertices, are unrolled.
    """
    points = (mesh.vertices if mesh.canonical is None else mesh.canonical).astype(np.float64)
    surface = _Surface(points, mesh.faces, unroll(points, mesh.faces))
    corners, is_main = _main_chart(surface)
    density = _usual_density(surface, corners, is_main)
    for chart in _pack(_extra_charts(surface, ~is_main), density):
        corners[chart.faces] = chart.corners
    return _split(mesh, corners)


def _main_chart(surface: _Surface) -> tuple[Float[np.ndarray, "f 3 2"], Bool[np.ndarray, "f"]]:
    """Corners in the main rectangle, and the faces that it shows without folds and overlaps."""
    allowed = ~(surface.unrolled.crown | surface.unrolled.base)
    uv = np.stack([surface.unrolled.u, surface.unrolled.v], axis=1)
    corners = _in_rectangle(uv, surface.faces)
    creased = _grown(surface, _hidden(surface, corners, allowed, size_px=ROUGH_PX)) & allowed
    uv = _ironed(surface, uv, _patches_below(surface, creased, SMALL_PATCH))
    corners = _in_rectangle(uv, surface.faces)
    hidden = _grown(surface, _hidden(surface, corners, allowed, size_px=ROUGH_PX))
    is_main = allowed & ~hidden & ~_squeezed(surface, corners, allowed) & _within_seam(corners)
    is_main &= ~_patches_below(surface, is_main, ISLAND)
    while (hidden := _hidden(surface, corners, is_main, size_px=CHECK_PX)).any():
        is_main &= ~hidden
    return corners, is_main


def _in_rectangle(uv: Float[np.ndarray, "v 2"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3 2"]:
    """Corners in the main rectangle; the corners of a face over the seam go to the side where more of it lies."""
    corners = uv[faces]
    u = corners[:, :, 0]
    over = np.ptp(u, axis=1) > 0.5
    u = np.where(over[:, None] & (u < 0.5), u + 1, u)
    u = u - (over & (u.mean(axis=1) > 1))[:, None]
    across = (u + SEAM_TEETH) / (1 + 2 * SEAM_TEETH)
    return np.stack([GAP + across * (1 - 2 * GAP), GAP + corners[:, :, 1] * (MAIN_HEIGHT - 2 * GAP)], axis=-1)


def _within_seam(corners: Float[np.ndarray, "f 3 2"]) -> Bool[np.ndarray, "f"]:
    return np.abs(corners[:, :, 0] - 0.5).max(axis=1) <= 0.5 - GAP


def _uv_area(corners: Float[np.ndarray, "f 3 2"]) -> Float[np.ndarray, "f"]:
    """Area in the square, positive for a face seen from outside."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return (first[:, 1] * second[:, 0] - first[:, 0] * second[:, 1]) / 2


def _hidden(
    surface: _Surface, corners: Float[np.ndarray, "f 3 2"], among: Bool[np.ndarray, "f"], *, size_px: int
) -> Bool[np.ndarray, "f"]:
    """Faces that are turned over, or that lie under a face further out."""
    hidden = among & (_uv_area(corners) <= 0)
    index = np.flatnonzero(among & ~hidden)
    texels = rasterize_uv(corners[index].reshape(-1, 2), np.arange(3 * len(index)).reshape(-1, 3), size_px)
    shared = np.bincount(texels.index, minlength=size_px**2)[texels.index] > 1
    place, face = texels.index[shared], index[texels.triangle[shared]]
    outermost_last = np.lexsort((face, surface.unrolled.reach[face], place))
    place, face = place[outermost_last], face[outermost_last]
    hidden[face[:-1][place[:-1] == place[1:]]] = True
    return hidden


def _singular(surface: _Surface, corners: Float[np.ndarray, "f 3 2"]) -> Float[np.ndarray, "f"]:
    """How far a face is stretched in the direction in which it is stretched least, per canonical unit."""
    points = surface.points[surface.faces]
    first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    length = np.maximum(np.linalg.norm(first, axis=1), 1e-12)
    along = np.einsum("fa,fa->f", first, second) / length
    height = np.maximum(np.linalg.norm(np.cross(first, second), axis=1) / length, 1e-12)
    flat_first, flat_second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    right = flat_first / length[:, None]
    up = (flat_second - along[:, None] * right) / height[:, None]
    trace = (right**2 + up**2).sum(axis=1)
    determinant = right[:, 0] * up[:, 1] - right[:, 1] * up[:, 0]
    return np.sqrt(np.maximum(trace - np.sqrt(np.maximum(trace**2 - 4 * determinant**2, 0)), 0) / 2)


def _usual_density(surface: _Surface, corners: Float[np.ndarray, "f 3 2"], among: Bool[np.ndarray, "f"]) -> float:
    """Square sides per canonical unit, median of the faces."""
    if not among.any():
        return 1 / float(np.ptp(surface.points, axis=0).max())
    points = surface.points[surface.faces[among]]
    area = np.linalg.norm(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1) / 2
    return float(np.sqrt(np.median(np.abs(_uv_area(corners[among])) / np.maximum(area, 1e-30))))


def _squeezed(
    surface: _Surface, corners: Float[np.ndarray, "f 3 2"], among: Bool[np.ndarray, "f"]
) -> Bool[np.ndarray, "f"]:
    """Faces with too few texels one way, where they are more than a few together."""
    thin = among & (_singular(surface, corners) < THIN * _usual_density(surface, corners, among))
    return thin & ~_patches_below(surface, thin, FEW_THIN)


def _grown(surface: _Surface, chosen: Bool[np.ndarray, "f"]) -> Bool[np.ndarray, "f"]:
    """The chosen faces and those around them."""
    touched = np.zeros(len(surface.points), dtype=bool)
    touched[surface.faces[chosen]] = True
    return touched[surface.faces].any(axis=1)


def _patches_below(surface: _Surface, chosen: Bool[np.ndarray, "f"], size: int) -> Bool[np.ndarray, "f"]:
    """Those of the chosen faces that hang together in patches smaller than ``size``."""
    labels = face_parts(surface.faces[chosen])
    small = np.zeros(len(chosen), dtype=bool)
    small[chosen] = np.bincount(labels)[labels] < size if len(labels) else False
    return small


def _ironed(
    surface: _Surface, uv: Float[np.ndarray, "v 2"], patches: Bool[np.ndarray, "f"]
) -> Float[np.ndarray, "v 2"]:
    """Vertices inside the patches move to the mean of their neighbours, all others stay.

    Source:
        Tutte 1963, How to draw a graph: no folds where the patch's outline is convex.
    """
    size = len(uv)
    free = np.zeros(size, dtype=bool)
    free[surface.faces[patches]] = True
    free[surface.faces[~patches]] = False
    if not free.any():
        return uv
    start, end = directed_edges(surface.faces)
    turns = -np.round(uv[end, 0] - uv[start, 0])  # Neighbours over the seam are a whole turn away.
    links = coo_matrix((np.ones(len(start)), (start, end)), shape=(size, size)).tocsr()
    laplacian = (diags(np.asarray(links.sum(axis=1)).ravel()) - links).tocsr()[free]
    offset = np.stack([np.bincount(start, turns, minlength=size), np.zeros(size)], axis=1)[free]
    ironed = uv.copy()
    solved = spsolve(laplacian[:, free].tocsc(), offset - laplacian[:, ~free] @ uv[~free])
    ironed[free] = solved.reshape(-1, 2)
    ironed[:, 0] %= 1.0
    return ironed


def _extra_charts(surface: _Surface, chosen: Bool[np.ndarray, "f"]) -> list[_Chart]:
    """Charts of the chosen faces; the base with fewer texels."""
    charts = []
    for group, density in ((chosen & ~surface.unrolled.base, 1.0), (surface.unrolled.base, BASE_DENSITY)):
        index = np.flatnonzero(group)
        if len(index):
            charts += [
                replace(chart, faces=index[chart.faces])
                for chart in _parametrised(surface.points * density, surface.faces[index])
            ]
    return charts


def _parametrised(points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> list[_Chart]:
    """Charts in the units of the points, as xatlas cuts them; a face that it drops becomes a chart alone."""
    used, index = np.unique(faces, return_inverse=True)
    scale = 1 / float(np.ptp(points[used], axis=0).max())  # It drops faces with little area.
    atlas = xatlas.Atlas()
    atlas.add_mesh((points[used] * scale).astype(np.float32), index.reshape(-1, 3).astype(np.uint32))
    options = xatlas.PackOptions()
    options.texels_per_unit, options.rotate_charts = TEXELS_PER_UNIT, False
    atlas.generate(xatlas.ChartOptions(), options)
    _, corner_index, uv = atlas.get_mesh(0)
    flat = uv.astype(np.float64) * [atlas.width, atlas.height] / (TEXELS_PER_UNIT * scale)
    members = [
        np.asarray(atlas.get_mesh_chart(0, chart).faces, dtype=np.int64)
        for chart in range(atlas.get_mesh_chart_count(0))
    ]
    charts = [_Chart(chosen, flat[corner_index[chosen]]) for chosen in members if len(chosen)]
    dropped = np.setdiff1d(np.arange(len(faces)), np.concatenate([chart.faces for chart in charts]))
    return charts + [
        _Chart(dropped[i : i + 1], _laid_flat(points[faces[dropped[i : i + 1]]])) for i in range(len(dropped))
    ]


def _laid_flat(points: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3 2"]:
    """Single faces in the plane, their first edge along x."""
    first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    length = np.linalg.norm(first, axis=1)
    along = np.einsum("fa,fa->f", first, second) / np.maximum(length, 1e-12)
    height = np.linalg.norm(np.cross(first, second), axis=1) / np.maximum(length, 1e-12)
    zero = np.zeros_like(length)
    return np.stack([zero, zero, length, zero, along, -height], axis=1).reshape(-1, 3, 2)


def _pack(charts: list[_Chart], density: float) -> list[_Chart]:
    """The charts in the strip below the main chart, at the given density or the greatest smaller one that fits."""
    upright = [replace(chart, corners=_lying(chart.corners)) for chart in charts]
    sizes = np.array([chart.corners.max(axis=(0, 1)) for chart in upright]).reshape(-1, 2)
    room = 1 - GAP - MAIN_HEIGHT
    scale = 1.0
    while True:
        gap = GAP * min(1.0, 4 * scale)  # Thousands of crumbs would not even fit as points.
        packed = pack_strip(sizes * density * scale, width=1 - 2 * GAP, gap=gap)
        if packed is not None and packed[1] <= room:
            break
        scale *= 0.97
    return [
        replace(chart, corners=chart.corners * density * scale + place + [GAP, MAIN_HEIGHT])
        for chart, place in zip(upright, packed[0], strict=True)
    ]


def _lying(corners: Float[np.ndarray, "n 3 2"]) -> Float[np.ndarray, "n 3 2"]:
    """A chart turned so that it is wider than tall, not mirrored, least corner at the origin."""
    if _uv_area(corners).sum() < 0:
        corners = corners * [-1, 1]
    width, height = np.ptp(corners, axis=(0, 1))
    if height > width:
        corners = np.stack([-corners[:, :, 1], corners[:, :, 0]], axis=-1)
    return corners - corners.min(axis=(0, 1))


def _split(mesh: Mesh, corners: Float[np.ndarray, "f 3 2"]) -> Mesh:
    """The mesh with a vertex for each place that a vertex has in the square."""
    key = np.concatenate([mesh.faces.reshape(-1, 1), np.rint(corners.reshape(-1, 2) * (1 << 22))], axis=1)
    _, first, index = np.unique(key.astype(np.int64), axis=0, return_index=True, return_inverse=True)
    source = mesh.faces.reshape(-1)[first]
    return Mesh(
        mesh.vertices[source],
        index.reshape(-1, 3).astype(np.int32),
        normals=None if mesh.normals is None else mesh.normals[source],
        uv=corners.reshape(-1, 2)[first].astype(np.float32),
        canonical=None if mesh.canonical is None else mesh.canonical[source],
    )
