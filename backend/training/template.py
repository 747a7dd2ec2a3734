# SPDX-License-Identifier: Apache-2.0
"""Builds the template: remeshes the mean head, and measures shape and expression bases on it."""

from dataclasses import dataclass

import fast_simplification
import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from backend.template import Template, closest_barycentric
from backend.training.heads import HeadShapes
from backend.training.makehuman import MakeHuman, fit_proxy, to_canonical
from backend.training.solid import LIPS_PARTED, SIDE, BodySolid, distance_lattice

MESH_SPACING_M = 0.0013
OVERLAP_M = 0.012
SNAP_M = 0.0004
HALF_FACES = 14000
MM_PER_M = 1000.0
FACE_CENTRE_M = np.array([0.0, -0.01, 0.115])
FACE_MAGNIFICATION = (12.0, 0.05)
# ARKit's name: MakeHuman's expression units (side where they have one) and their weights.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "jawOpen": {"mouth-open": 1.0},
    "mouthSmile": {"mouth-corner-puller": 0.9},
    "mouthFrown": {"mouth-depression": 0.9},
    "mouthPucker": {"mouth-pursing": 1.0},
    "mouthFunnel": {"mouth-protusion": 0.7, "mouth-parling": 0.4},
    "mouthPress": {"mouth-compression": 0.8},
    "mouthStretch": {"mouth-retraction": 0.8},
    "mouthUpperUp": {"mouth-upward-retraction": 0.8},
    "mouthShrugUpper": {"mouth-elevation": 0.8},
    "eyeBlink": {"eye-{side}-closure": 1.0},
    "eyeSquint": {"eye-{side}-slit": 0.8},
    "eyeWide": {"eye-{side}-opened-up": 0.8},
    "browDown": {"eyebrows-{side}-down": 1.0},
    "browInnerUp": {"eyebrows-{side}-inner-up": 1.0},
    "browOuterUp": {"eyebrows-{side}-extern-up": 1.0},
    "noseSneer": {"nose-{side}-elevation": 1.0},
}
SIDED = ("mouthSmile", "mouthFrown", "mouthStretch", "mouthUpperUp")


@dataclass(frozen=True)
class TemplateAnchors:
    """The template's vertices on MakeHuman's skin and eyeballs.

    Args:
        triangles: Corner vertices in the array of base and eyeball vertices.
        weights: Barycentric weights.
    """

    triangles: Int[np.ndarray, "n 3"]
    weights: Float[np.ndarray, "n 3"]

    def read(self, makehuman: MakeHuman, base_dm: Float[np.ndarray, "19158 3"]) -> Float[np.ndarray, "n 3"]:
        """Template vertices on another base mesh, metres."""
        points = np.concatenate([base_dm, fit_proxy(makehuman.eyes, base_dm)])
        return to_canonical((points[self.triangles] * self.weights[..., None]).sum(1))


def canonical_base(heads: HeadShapes, samples: list[Float[np.ndarray, "19158 3"]]) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric mean base mesh, with closed lips and with parted lips, decimetres."""
    base = heads.makehuman.base.vertices
    _, mirror = cKDTree(base).query(base * [-1, 1, 1])
    mean = np.mean(samples, axis=0)
    closed = (mean + mean[mirror] * [-1, 1, 1]) / 2
    return closed, closed + LIPS_PARTED * heads.makehuman.target("expression/units/caucasian/mouth-open")


def template_mesh(solid: BodySolid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A symmetric triangle mesh of a solid, finer on the face; vertices, faces and each vertex's mirror image."""
    nodes = round(SIDE / MESH_SPACING_M) | 1
    high = np.full(3, SIDE / 2)
    low = np.array([-OVERLAP_M, *-high[1:]])
    shape = (nodes // 2 + 1, nodes, nodes)
    lattice = distance_lattice(solid, low, high, shape)
    spacing = (high - low) / (np.array(shape) - 1)
    vertices, faces, _, _ = marching_cubes(lattice, 0.0, spacing=tuple(spacing), gradient_direction="descent")
    vertices, faces = _largest_piece(vertices + low, faces)
    radius, magnified_radius = _magnification()
    magnified = _scale_radially(vertices, radius, magnified_radius)
    # In metres every error would lie below its first threshold, and edges would go in any order.
    reduced, faces = fast_simplification.simplify(
        (MM_PER_M * magnified).astype(np.float32), faces, target_count=HALF_FACES
    )
    return _mirror_half(_scale_radially(reduced.astype(np.float64) / MM_PER_M, magnified_radius, radius), faces)


def _magnification() -> tuple[np.ndarray, np.ndarray]:
    """Distances from the face's centre, and where the magnifying glass that guides the decimation puts them."""
    gain, width = FACE_MAGNIFICATION
    radius = np.linspace(0, 1, 4000)
    return radius, radius + gain * width * np.arctan(radius / width)


def _scale_radially(points: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    arm = points - FACE_CENTRE_M
    radius = np.maximum(np.linalg.norm(arm, axis=1, keepdims=True), 1e-9)
    return FACE_CENTRE_M + arm / radius * np.interp(radius, before, after)


def _largest_piece(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = sp.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, piece = connected_components(graph, directed=False)
    kept = piece == np.bincount(piece).argmax()
    number = np.cumsum(kept) - 1
    return vertices[kept], number[faces[kept[faces[:, 0]]]]


def _mirror_half(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a mesh at x = 0 and close the half beyond by its mirror image, sharing the vertices of the cut."""
    vertices[np.abs(vertices[:, 0]) < SNAP_M, 0] = 0.0
    right, faces, _ = trimesh.intersections.slice_faces_plane(
        vertices, faces, plane_normal=[1, 0, 0], plane_origin=[0, 0, 0]
    )
    half = trimesh.Trimesh(right, faces)
    half.update_faces(half.nondegenerate_faces())
    half.remove_unreferenced_vertices()
    right, faces = np.array(half.vertices), np.array(half.faces)
    on_cut = np.abs(right[:, 0]) < 1e-9
    others = np.flatnonzero(~on_cut)
    image = np.arange(len(right))
    image[others] = len(right) + np.arange(len(others))
    both = np.concatenate([right, right[others] * [-1, 1, 1]])
    return both, np.concatenate([faces, image[faces][:, ::-1]]), np.concatenate([image, others])


def anchor(solid: BodySolid, vertices: Float[np.ndarray, "n 3"]) -> TemplateAnchors:
    """Ties template vertices to the nearest point of the solid's skin or eyeballs."""
    import igl

    _, face, place = igl.point_mesh_squared_distance(
        np.ascontiguousarray(vertices), np.ascontiguousarray(solid.vertices), np.ascontiguousarray(solid.faces)
    )
    triangles = solid.faces[face]
    return TemplateAnchors(triangles, closest_barycentric(place, solid.vertices[triangles]))


def shape_basis(
    samples: Float[np.ndarray, "s n 3"], mirror: Int[np.ndarray, "n"], count: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "k n 3"]]:
    """Mean and principal components, scaled to one standard deviation, of heads and their mirror images."""
    both = np.concatenate([samples, samples[:, mirror] * [-1, 1, 1]])
    mean = both.mean(0)
    flat = (both - mean).reshape(len(both), -1)
    gram = flat @ flat.T
    value, vector = np.linalg.eigh(gram)
    top = np.argsort(value)[::-1][:count]
    components = (vector[:, top].T @ flat) / np.sqrt(len(both))
    return mean, components.reshape(count, *mean.shape)


def expression_basis(
    makehuman: MakeHuman, anchors: TemplateAnchors, base_dm: Float[np.ndarray, "19158 3"]
) -> tuple[tuple[str, ...], Float[np.ndarray, "e n 3"]]:
    """ARKit-named expressions of the mean head as template offsets, metres."""
    rest = anchors.read(makehuman, base_dm)
    left_share = 1 / (1 + np.exp(-rest[:, :1] / 0.006))
    names: list[str] = []
    offsets: list[np.ndarray] = []

    def moved(units: dict[str, float], side: str) -> np.ndarray:
        target = sum(
            weight * makehuman.target(f"expression/units/caucasian/{unit.format(side=side)}")
            for unit, weight in units.items()
        )
        return anchors.read(makehuman, base_dm + target) - rest

    for name, units in EXPRESSIONS.items():
        if name in SIDED:
            whole = moved(units, "")
            names += [f"{name}Left", f"{name}Right"]
            offsets += [whole * left_share, whole * (1 - left_share)]
        elif any("{side}" in unit for unit in units):
            names += [f"{name}Left", f"{name}Right"]
            offsets += [moved(units, "left"), moved(units, "right")]
        else:
            names.append(name)
            offsets.append(moved(units, ""))
    return tuple(names), np.stack(offsets)


def without_landmarks(
    mesh: tuple[np.ndarray, np.ndarray, np.ndarray],
    bases: tuple[np.ndarray, np.ndarray],
    expressions: tuple[tuple[str, ...], np.ndarray],
) -> Template:
    """A template from its mesh (vertices, faces, mirror), shape statistics and expressions; landmarks come later."""
    vertices, faces, mirror = mesh
    mean, shape = bases
    names, expression = expressions
    return Template(
        vertices, faces, mirror, mean - vertices, shape, expression, names,
        np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0),
    )  # fmt: skip
