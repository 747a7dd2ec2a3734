# SPDX-License-Identifier: Apache-2.0
"""From a field to a closed mesh in canonical space; the only door to marching cubes."""

import mcubes
import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix, csr_matrix, diags

from backend.config import BustCut, SurfaceConfig
from backend.decimation import decimate
from backend.errors import ModelError, SettingsError
from backend.field import Field, SignedDistanceField
from backend.lattice import Evaluate, Ticks, sparse_lattice, whole_blocks
from backend.magnify import lattice_ticks
from backend.mesh import Mesh, directed_edges, largest_solid, vertex_normals

TAUBIN_SHRINK, TAUBIN_GROW = 0.5, -0.53  # Pass band 0.11: removes stairs, keeps volume; Taubin 1995, section 3.
BLUR_NODES = (0.0, 1.0, 2.0, 4.0, 8.0)


def extract_surface(field: Field, config: SurfaceConfig, *, device: torch.device | None = None) -> Mesh:
    """The head's surface as one closed manifold mesh.

    Args:
        field: Meshed where its signed distance is 0, or else where its density is at its level.
        config: How finely.
        device: Where the field computes; the CPU when omitted.

    Returns:
        A mesh in canonical space with normals; faces run counter-clockwise seen from outside.

    Raises:
        ModelError: The field has no surface, or its surface cannot be reduced to so few faces and stay closed.
    """
    nodes = _checked_nodes(config)
    ticks = lattice_ticks(field.side, nodes, config.lattice_focus)
    spacing = max(float(np.diff(axis).max()) for axis in ticks)
    evaluate = _outside_positive(field, config, spacing=spacing, device=device or torch.device("cpu"))
    values = sparse_lattice(evaluate, ticks)
    vertices, faces = _closed_surface(values, ticks, config)
    vertices = vertices.astype(np.float32)
    return Mesh(vertices, faces, normals=vertex_normals(vertices, faces), canonical=vertices)


def _closed_surface(
    values: Float[np.ndarray, "n n n"], ticks: Ticks, config: SurfaceConfig
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """The zero level as a closed mesh of few faces; wisps too thin for that are blurred away, no more than needed."""
    refusals = []
    for blur_nodes in BLUR_NODES:
        try:
            return _reduced_surface(values, blur_nodes, ticks, config)
        except ModelError as error:
            refusals.append(error)
    raise refusals[0]  # What is wrong with the surface as it is; a blurred one may also be empty.


def _reduced_surface(
    values: Float[np.ndarray, "n n n"], blur_nodes: float, ticks: Ticks, config: SurfaceConfig
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    softened = values.copy()
    if blur_nodes:  # The outermost nodes stay outside, or the surface would end open at the cube's walls.
        inside = (slice(1, -1),) * 3
        softened[inside] = gaussian_filter(values, blur_nodes)[inside]
    vertices, faces = largest_solid(*_marching_cubes(softened, ticks))
    vertices = smooth_taubin(vertices, faces, steps=config.smoothing_steps)
    return decimate(vertices, faces, target=config.faces, details=config.details)


def _checked_nodes(config: SurfaceConfig) -> int:
    if not 17 <= config.resolution <= 513:
        raise SettingsError(f"The mesh resolution must be between 17 and 513, not {config.resolution}.")
    if config.faces < 100:
        raise SettingsError(f"A head needs at least 100 faces, not {config.faces}.")
    return whole_blocks(config.resolution)


def _outside_positive(field: Field, config: SurfaceConfig, *, spacing: float, device: torch.device) -> Evaluate:
    """The function whose zero level is meshed: the field's surface, ended at the bust cut and inside the cube."""
    has_distance = isinstance(field, SignedDistanceField)
    wall = field.side / 2 - 1.5 * spacing

    @torch.no_grad()
    def evaluate(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        values = np.empty(len(points), dtype=np.float32)
        for start in range(0, len(points), config.chunk):
            part = torch.from_numpy(points[start : start + config.chunk]).to(device)
            if isinstance(field, SignedDistanceField):
                value = field.signed_distance(part)
            else:
                value = (1 - field.density(part) / field.level) * spacing
            values[start : start + config.chunk] = value.float().cpu().numpy()
        if not np.isfinite(values).all():
            raise ModelError("The generator produced numbers that are not finite. Reinstall the model's weights.")
        if config.bust_cut is not None:
            rounding = config.bust_cut.rounding * field.side if has_distance else 0.0
            values = rounded_intersection(values, column_distance(points, config.bust_cut, field.side), rounding)
        return np.maximum(values, np.abs(points).max(axis=1) - wall)

    return evaluate


def column_distance(points: Float[np.ndarray, "n 3"], cut: BustCut, side: float) -> Float[np.ndarray, "n"]:
    """Signed distance, negative inside, to the column that the bust is cut with.

    Args:
        points: Canonical positions.
        cut: The column's measures, in cube sides.
        side: Of the cube, canonical units.

    Source:
        The rounded box of Quilez, "Distance functions", without a lid.
    """
    half = np.array([cut.half_width, cut.depth_below, cut.half_depth]) * side - cut.corner * side
    beyond = np.stack([np.abs(points[:, 0]), -points[:, 1], np.abs(points[:, 2])], axis=1) - half
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return (outside + np.minimum(beyond.max(axis=1), 0) - cut.corner * side).astype(np.float32)


def rounded_intersection(
    first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"], radius: float
) -> Float[np.ndarray, "n"]:
    """The greater of two signed distances, bent over smoothly where they differ by less than the radius.

    Source:
        The quadratic polynomial of Quilez, "Smooth minimum".
    """
    greater = np.maximum(first, second)
    if radius == 0:
        return greater
    closeness = np.maximum(radius - np.abs(first - second), 0) / radius
    return greater + closeness**2 * (radius / 4)


def _marching_cubes(
    values: Float[np.ndarray, "n n n"], ticks: Ticks
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """The zero level, in canonical units, faces outwards."""
    if not (values < 0).any():
        raise ModelError("The generator produced an empty head. Try another photo, or reinstall the model's weights.")
    least = 1e-4 * (ticks[0][1] - ticks[0][0])  # A node exactly on the level would make triangles without area.
    values = np.where(np.abs(values) < least, np.where(values < 0, -least, least), values)
    index, faces = mcubes.marching_cubes(-values, 0.0)
    # A vertex lies on a lattice edge, so that the way between two nodes is straight on every axis.
    places = [np.interp(index[:, axis], np.arange(len(ticks[axis])), ticks[axis]) for axis in range(3)]
    return np.stack(places, axis=1), faces.astype(np.int32)


def smooth_taubin(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, steps: int
) -> Float[np.ndarray, "v 3"]:
    """Even out the vertices without shrinking the mesh.

    Source:
        Taubin 1995, A signal processing approach to fair surface design.
    """
    mean = _neighbour_mean(len(vertices), faces)
    smoothed = vertices.astype(np.float64)
    for _ in range(steps):
        for factor in (TAUBIN_SHRINK, TAUBIN_GROW):
            smoothed = smoothed + factor * (mean @ smoothed - smoothed)
    return smoothed


def _neighbour_mean(size: int, faces: Int[np.ndarray, "f 3"]) -> csr_matrix:
    """The matrix that takes each vertex of a closed mesh to the mean of its neighbours."""
    start, end = directed_edges(faces)
    links = coo_matrix((np.ones(len(start)), (start, end)), shape=(size, size)).tocsr()
    return diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links
