# SPDX-License-Identifier: Apache-2.0
"""Builds the template: remeshes the mean head, and measures shape and expression bases on it."""

from dataclasses import dataclass

import fast_simplification
import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from backend.skeleton import Skeleton
from backend.template import Template, closest_barycentric
from backend.training.expressions import mirrored
from backend.training.heads import HeadShapes
from backend.training.makehuman import BASE_VERTICES, EYEBALLS, MakeHuman, fit_proxy, head_skeleton, to_canonical
from backend.training.solid import LIPS_PARTED, SIDE, BodySolid, distance_lattice

MESH_SPACING_M = 0.0013
OVERLAP_M = 0.012
SNAP_M = 0.0004
HALF_FACES = 14000
MM_PER_M = 1000.0
EYE_REACH_M = 0.0195
STEP_M = 0.0002
FACE_CENTRE_M = np.array([0.0, -0.01, 0.115])
FACE_MAGNIFICATION = (12.0, 0.05)
# How far the eyeball gives way under closing lids, so that it does not shine through them half way; metres at weight 1.
EYE_RECESS_M = {"eyeBlink": 0.0016, "eyeSquint": 0.0008, "eyeLookDown": 0.0005}


@dataclass(frozen=True)
class TemplateAnchors:
    """The template's vertices on MakeHuman's skin and eyeballs.

    Args:
        triangles: Corner vertices in the array of base and eyeball vertices.
        weights: Barycentric weights.
    """

    triangles: Int[np.ndarray, "n 3"]
    weights: Float[np.ndarray, "n 3"]

    @property
    def on_eye(self) -> Bool[np.ndarray, "n"]:
        """Which vertices lie on the eyeballs."""
        return np.asarray((self.triangles >= BASE_VERTICES).all(1))

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
    vertices = _scale_radially(reduced.astype(np.float64) / MM_PER_M, magnified_radius, radius)
    return _mirror_half(*_finer_eye(solid, vertices, faces.astype(np.int64)))


def _finer_eye(solid: BodySolid, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split the edges around the left eye's opening in two, where lids slide on the eyeball."""
    arm = vertices - solid.vertices[EYEBALLS[0]].mean(0)
    near = (np.linalg.norm(arm, axis=1) < EYE_REACH_M) & (arm[:, 2] > 0)
    vertices, faces, added = split_edges(vertices, faces, near)
    middle = vertices[added]
    for _ in range(2):
        distance = solid.distance(middle)
        steps = [solid.distance(middle + STEP_M * axis) - solid.distance(middle - STEP_M * axis) for axis in np.eye(3)]
        slope = np.stack(steps, axis=1) / (2 * STEP_M)
        length = np.maximum((slope**2).sum(1, keepdims=True), 0.25)
        middle = middle - np.clip(distance, -0.0005, 0.0005)[:, None] * slope / length
    vertices[added] = middle
    return vertices, faces


def split_edges(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "f 3"], inside: Bool[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "m 3"], Int[np.ndarray, "g 3"], Int[np.ndarray, "a"]]:
    """A mesh with a new vertex in the middle of each edge between two ``inside`` vertices; stays closed.

    Returns:
        Vertices, old ones first; faces; numbers of the new vertices.
    """
    corner = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1)
    split = inside[corner].all(-1)
    edges, place = np.unique(np.sort(corner[split], axis=1), axis=0, return_inverse=True)
    added = len(vertices) + np.arange(len(edges))
    middle = np.full(faces.shape, -1)
    middle[split] = added[place.reshape(-1)]
    count = split.sum(1)
    parts = [faces[count == 0]]
    turned, cut = [], []
    for first in range(3):  # Turn each face so that its split edges come first.
        order = np.roll(np.arange(3), -first)
        flags = split[:, order]
        chosen = (flags[:, 0] & ~flags[:, 2] & (count < 3)) | ((count == 3) & (first == 0))
        turned.append(faces[chosen][:, order])
        cut.append(middle[chosen][:, order])
    (a, b, c), (p, q, r) = np.concatenate(turned).T, np.concatenate(cut).T
    one, two, three = (q < 0), (q >= 0) & (r < 0), r >= 0
    for where, triangles in (
        (one, ((a, p, c), (p, b, c))),
        (two, ((p, b, q), (a, p, q), (a, q, c))),
        (three, ((a, p, r), (p, b, q), (r, q, c), (p, q, r))),
    ):
        parts += [np.stack(triangle, axis=1)[where] for triangle in triangles]
    both = np.concatenate([vertices, vertices[edges].mean(1)])
    return both, np.concatenate(parts), added


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
    makehuman: MakeHuman,
    expressions: dict[str, Float[np.ndarray, "19158 3"]],
    anchors: TemplateAnchors,
    *,
    base_dm: Float[np.ndarray, "19158 3"],
    mirror: Int[np.ndarray, "n"],
) -> tuple[tuple[str, ...], Float[np.ndarray, "e n 3"]]:
    """Expressions of the mean head as template offsets, metres; right ones are exact mirror images of left ones.

    Args:
        makehuman: The assets.
        expressions: Offsets of the base mesh by ARKit name, decimetres.
        anchors: Of the template.
        base_dm: The mean head at rest.
        mirror: The template's.
    """
    rest = anchors.read(makehuman, base_dm)
    read = {name: anchors.read(makehuman, base_dm + offset) - rest for name, offset in expressions.items()}
    for name, depth in EYE_RECESS_M.items():
        for side, sign in (("Left", 1.0), ("Right", -1.0)):
            read[f"{name}{side}"][anchors.on_eye & (sign * rest[:, 0] > 0), 2] -= depth
    names = tuple(read)
    both = [(read[name] + mirrored(read[opposite(name)], mirror)) / 2 for name in names]
    return names, np.stack(both)


def opposite(name: str) -> str:
    """The name of an expression's mirror image."""
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


def joint_shares(
    makehuman: MakeHuman, anchors: TemplateAnchors, mirror: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n 2"]:
    """Share of each template vertex that goes with the neck and with the head; the same on both sides."""
    eyes = np.tile([0.0, 1.0], (len(makehuman.eyes.anchors), 1))
    shares = np.concatenate([makehuman.joint_shares, eyes])
    read = (shares[anchors.triangles] * anchors.weights[..., None]).sum(1)
    return (read + read[mirror]) / 2


def canonical_skeleton(base_dm: Float[np.ndarray, "19158 3"]) -> Skeleton:
    """Where neck and head of a base mesh turn, metres."""
    return Skeleton(to_canonical(head_skeleton(base_dm).joints))


def without_landmarks(
    mesh: tuple[np.ndarray, np.ndarray, np.ndarray],
    bases: tuple[np.ndarray, np.ndarray],
    expressions: tuple[tuple[str, ...], np.ndarray],
    neck: tuple[Skeleton, np.ndarray],
    *,
    on_eye: Bool[np.ndarray, "n"],
) -> Template:
    """A template from its mesh (vertices, faces, mirror), shape statistics, expressions and neck (joints and shares).

    Landmarks come later.
    """
    vertices, faces, mirror = mesh
    mean, shape = bases
    names, expression = expressions
    skeleton, shares = neck
    return Template(
        vertices, faces, mirror, mean - vertices, shape, expression, names,
        np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0), skeleton, shares, on_eye=on_eye,
    )  # fmt: skip
