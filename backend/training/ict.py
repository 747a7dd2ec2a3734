# SPDX-License-Identifier: Apache-2.0
"""Carries ICT-FaceKit's identity modes and expressions (MIT) onto the MakeHuman base mesh.

Four landmarks give a similarity; smooth non-rigid registration then lays the MakeHuman skin on the ICT head, the line
between the lips on the line between the lips, and each shape is read off the nearest ICT vertices, those of the other
lip excepted. The shapes fade out below the jaw, where ICT has no counterpart.

Source: Amberg, Romdhani and Vetter 2007, "Optimal step nonrigid ICP", with a point-to-plane data term.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.linalg import factorized
from scipy.spatial import cKDTree

from backend.errors import ModelError
from backend.mesh import vertex_normals
from backend.raycast import Caster
from backend.training.makehuman import BASE_VERTICES, BODY_VERTICES, EYE_JOINTS, EYEBALLS, MakeHuman, joint

ICT_HEAD_VERTICES = 11248  # Face, head and neck; sockets, teeth and eyeballs follow.
ICT_EYEBALLS = (slice(21451, 23021), slice(23021, 24591))
ICT_TEETH = slice(17039, 21451)
JAW_MOVES = ("jawForward", "jawLeft", "jawOpen", "jawRight")
JAW_STEP_CM = 0.5  # Lower teeth go at least this far when the mouth opens; upper ones stay.
STIFFNESS = (50.0, 20.0, 10.0, 5.0, 3.0, 2.0, 1.0, 1.0)
HEAD_BOTTOM_DM = 5.6
FADE_DM = (5.95, 0.12)
MATCH_DISTANCE_CM = 1.0
# What opens the mouth, and how far down it takes the lower lip at least: half of what it takes it down.
MAKEHUMAN_OPEN = ("expression/units/caucasian/mouth-open", 0.14)  # Decimetres.
ICT_OPEN = ("jawOpen", 1.7)  # Centimetres.
# Where the lips meet, as shares of the way to the corner, and the corners' distance from the middle plane.
LIP_LINE = np.linspace(-0.92, 0.92, 21)
MAKEHUMAN_CORNER_DM, ICT_CORNER_CM = 0.25, 2.53
LIP_WEIGHT = 20.0
ICT_LIPS_Y_CM, LIP_REACH_CM = -3.4, 1.2


@dataclass(frozen=True)
class IctHead:
    """ICT-FaceKit as arrays, in centimetres.

    Args:
        neutral: The head's skin at rest.
        faces: Its triangles.
        identity: Identity modes per standard deviation.
        expression: Expressions at weight 1.
        expression_names: ARKit's, the side as ``_L`` or ``_R``.
    """

    neutral: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    identity: Float[np.ndarray, "k v 3"]
    expression: Float[np.ndarray, "e v 3"]
    expression_names: tuple[str, ...]

    @property
    def is_jaw(self) -> Bool[np.ndarray, "v"]:
        """What goes down when the mouth opens."""
        name, least = ICT_OPEN
        return self.expression[self.expression_names.index(name)][:, 1] < -least


@dataclass(frozen=True)
class Correspondence:
    """The MakeHuman skin laid on the ICT head.

    Args:
        base: MakeHuman's rest mesh, decimetres.
        skin: Base vertices that take part.
        faces: Triangles over ``skin``.
        is_jaw: Which of ``skin`` go down when the mouth opens.
        points: Where they lie on the ICT head, centimetres.
        to_base: From ICT offsets in centimetres to MakeHuman offsets in decimetres.
        ict: The ICT head.
    """

    base: Float[np.ndarray, "19158 3"]
    skin: Int[np.ndarray, "n"]
    faces: Int[np.ndarray, "f 3"]
    is_jaw: Bool[np.ndarray, "n"]
    points: Float[np.ndarray, "n 3"]
    to_base: Float[np.ndarray, "3 3"]
    ict: IctHead

    def carry(self, shapes: Float[np.ndarray, "k v 3"]) -> Float[np.ndarray, "k 19158 3"]:
        """ICT offsets in centimetres as offsets of the MakeHuman base mesh, decimetres."""
        offsets = _read(self, shapes) @ self.to_base
        fade = 1 / (1 + np.exp(-(self.base[self.skin, 1] - FADE_DM[0]) / FADE_DM[1]))
        carried = np.zeros((len(shapes), BASE_VERTICES, 3), np.float32)
        carried[:, self.skin] = offsets * fade[:, None]
        _carry_helpers(carried, self.base, self.skin)
        return carried


def load_ict(path: Path) -> IctHead:
    """Read the ICT-FaceKit archive.

    Raises:
        ModelError: The file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as archive:
            quads = archive["faces"]
            neutral = archive["neutral"].astype(np.float64)
            identity = archive["identity"].astype(np.float32)
            expression = archive["expression"].astype(np.float32)
            names = tuple(str(name) for name in archive["expression_names"])
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise ModelError(
            f"The ICT-FaceKit file {path} cannot be read ({error}); point --assets at it.", code="asset_missing"
        ) from error
    triangles = np.concatenate([quads[:, :3], quads[quads[:, 3] >= 0][:, [0, 2, 3]]])
    skin, count = triangles[triangles.max(1) < ICT_HEAD_VERTICES], ICT_HEAD_VERTICES
    return IctHead(neutral[:count], skin, identity[:, :count], expression[:, :count], names)


def identity_modes(makehuman: MakeHuman, path: Path) -> Float[np.ndarray, "k 19158 3"]:
    """ICT's identity modes as offsets of the MakeHuman base mesh, decimetres per standard deviation."""
    found = correspondence(makehuman, path)
    return found.carry(found.ict.identity)


def ict_expressions(makehuman: MakeHuman, path: Path) -> dict[str, Float[np.ndarray, "19158 3"]]:
    """ICT's expressions as offsets of the MakeHuman base mesh at weight 1, decimetres, by ICT's names."""
    found = correspondence(makehuman, path)
    return dict(zip(found.ict.expression_names, found.carry(found.ict.expression), strict=True))


def jaw_moves(makehuman: MakeHuman, path: Path) -> dict[str, Float[np.ndarray, "4 3"]]:
    """How each expression that moves the jaw moves the lower teeth: ``[x, y, z, 1] @ move``, decimetres at weight 1."""
    with np.load(path) as archive:
        names = [str(name) for name in archive["expression_names"]]
        teeth = archive["neutral"][ICT_TEETH].astype(np.float64)
        steps = {name: archive["expression"][names.index(name), ICT_TEETH].astype(np.float64) for name in JAW_MOVES}
    scale, turn, shift = _alignment(makehuman, load_ict(path), path)
    is_lower = np.linalg.norm(steps["jawOpen"], axis=1) > JAW_STEP_CM
    rest = np.column_stack([(teeth[is_lower] - shift) @ turn / scale, np.ones(is_lower.sum())])
    return {name: np.linalg.lstsq(rest, step[is_lower] @ turn / scale, rcond=None)[0] for name, step in steps.items()}


def correspondence(makehuman: MakeHuman, path: Path) -> Correspondence:
    """Lay the MakeHuman skin on the ICT head in the archive."""
    ict = load_ict(path)
    scale, turn, shift = _alignment(makehuman, ict, path)
    base, faces = makehuman.base.vertices, makehuman.body.faces
    in_head = (base[faces][:, :, 1].min(1) > HEAD_BOTTOM_DM) & (np.abs(base[faces][:, :, 0]).max(1) < 1.3)
    skin = np.unique(faces[in_head])
    skin_faces = np.searchsorted(skin, faces[in_head])
    name, least = MAKEHUMAN_OPEN
    is_jaw = makehuman.target(name)[skin, 1] < -least
    start = base[skin] @ turn.T * scale + shift
    lips = _lip_constraint(start, skin_faces, is_jaw, MAKEHUMAN_CORNER_DM * scale, ict)
    points = _register(start, skin_faces, ict, lips)
    return Correspondence(base, skin, skin_faces, is_jaw, points, turn / scale, ict)


def _alignment(makehuman: MakeHuman, ict: IctHead, path: Path) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift from MakeHuman's decimetres to ICT's centimetres."""
    with np.load(path) as archive:
        eyeballs = [archive["neutral"][part].mean(0) for part in ICT_EYEBALLS]
    return _similarity(_makehuman_landmarks(makehuman.base.vertices), _ict_landmarks(ict, eyeballs))


def _lip_constraint(
    start: np.ndarray, faces: np.ndarray, is_jaw: np.ndarray, corner: float, ict: IctHead
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Rows that read points of both lips' edges off the MakeHuman skin, and where they lie on the ICT head."""
    rows, goals = [], []
    ours = _lip_edges(start, faces, is_jaw, LIP_LINE * corner)
    theirs = _lip_edges(ict.neutral, ict.faces, ict.is_jaw, LIP_LINE * ICT_CORNER_CM)
    for (triangle, weights), (their_triangle, their_weights) in zip(ours, theirs, strict=True):
        number = np.repeat(np.arange(len(triangle)), 3)
        cells = (weights.ravel(), (number, faces[triangle].ravel()))
        rows.append(sp.csr_matrix(cells, shape=(len(triangle), len(start))))
        goals.append((ict.neutral[ict.faces[their_triangle]] * their_weights[..., None]).sum(1))
    return sp.vstack(rows).tocsr(), np.concatenate(goals)


def _lip_edges(
    vertices: np.ndarray, faces: np.ndarray, is_jaw: np.ndarray, across: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Triangles and barycentric weights of the upper lip's lower edge and the lower lip's upper edge, from in front."""
    caster = Caster(vertices, faces)
    corners = vertices[faces]
    is_front = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0
    height = np.linspace(-2.0, -5.0, 1500)
    upper, lower = [], []
    for x in across:
        origins = np.stack([np.full_like(height, x), height, np.full_like(height, 100.0)], 1)
        triangle, weights, distance = caster.first_hit(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape))
        is_lip = (triangle >= 0) & is_front[triangle] & (distance < 95)
        on_jaw = (is_jaw[faces[triangle]] * weights).sum(1) > 0.5
        first = np.flatnonzero(is_lip & on_jaw)[0]
        last = np.flatnonzero((is_lip & ~on_jaw)[:first])[-1]
        upper.append((triangle[last], weights[last]))
        lower.append((triangle[first], weights[first]))
    return [(np.array([t for t, _ in edge]), np.stack([w for _, w in edge])) for edge in (upper, lower)]


def _makehuman_landmarks(base: np.ndarray) -> np.ndarray:
    body = base[:BODY_VERTICES]
    middle = body[np.abs(body[:, 0]) < 0.05]
    nose = middle[np.abs(middle[:, 1] - 7.0) < 0.25]
    lips = body[(np.abs(body[:, 0]) < 0.25) & (np.abs(body[:, 1] - 6.62) < 0.1) & (body[:, 2] > 1.3)]
    return np.stack([*(joint(base, eye) for eye in EYE_JOINTS), nose[nose[:, 2].argmax()], lips.mean(0)])


def _ict_landmarks(ict: IctHead, eyeballs: list[np.ndarray]) -> np.ndarray:
    left, right = sorted(eyeballs, key=lambda centre: -centre[0])
    middle = ict.neutral[np.abs(ict.neutral[:, 0]) < 0.2]
    nose = middle[middle[:, 2].argmax()]
    mouth = middle[(middle[:, 1] < nose[1] - 1.5) & (middle[:, 1] > nose[1] - 5.5)]
    return np.stack([left, right, nose, mouth[mouth[:, 2].argmax()]])


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift that carry source points to target points (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = u @ sign @ vt
    scale = float((singular * np.diag(sign)).sum() / (a**2).sum())
    return scale, turn, target.mean(0) - scale * turn @ source.mean(0)


def _laplacian(faces: np.ndarray, count: int) -> sp.csr_matrix:
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0)
    rows = np.repeat(np.arange(len(edges)), 2)
    difference = sp.csr_matrix((np.tile([1.0, -1.0], len(edges)), (rows, edges.ravel())), shape=(len(edges), count))
    return (difference.T @ difference).tocsr()


def _register(start: np.ndarray, faces: np.ndarray, ict: IctHead, lips: tuple[sp.csr_matrix, np.ndarray]) -> np.ndarray:
    """The MakeHuman skin laid on the ICT neutral head, centimetres."""
    tree = cKDTree(ict.neutral)
    ict_normals = vertex_normals(ict.neutral, ict.faces)
    smooth = _laplacian(faces, len(start))
    points = start.copy()
    index = np.arange(len(start))
    lip_rows, lip_goals = lips
    for stiffness in STIFFNESS:
        normals = vertex_normals(points, faces)
        distance, near = tree.query(points, k=6)
        agreement = (ict_normals[near] * normals[:, None]).sum(-1)
        best = np.argmax(agreement - distance / 1.5, axis=1)
        chosen = near[index, best]
        gap = ict.neutral[chosen] - points
        along = ict_normals[chosen] * (ict_normals[chosen] * gap).sum(1, keepdims=True)
        goal = points + 0.8 * along + 0.2 * gap
        weight = ((agreement[index, best] > 0.6) & (distance[:, 0] < 2.5)).astype(np.float64)
        pull = weight[:, None] * (goal - start) + LIP_WEIGHT * lip_rows.T @ (lip_goals - lip_rows @ start)
        held = sp.diags(weight + 1e-4) + LIP_WEIGHT * lip_rows.T @ lip_rows
        solve = factorized((smooth * stiffness + held).tocsc())
        points = start + np.stack([solve(pull[:, axis]) for axis in range(3)], 1)
    return points


def _read(found: Correspondence, shapes: np.ndarray) -> np.ndarray:
    """ICT offsets at registered points, filled smoothly where ICT has no nearby skin, centimetres."""
    points, ict = found.points, found.ict
    distance, near = _nearest(points, ict.neutral, np.ones(len(ict.neutral), bool))
    for lip in (True, False):
        at_lip = np.flatnonzero((found.is_jaw == lip) & _near_lips(points))
        allowed = (ict.is_jaw == lip) | ~_near_lips(ict.neutral)
        distance[at_lip], near[at_lip] = _nearest(points[at_lip], ict.neutral, allowed)
    weight = 1 / (distance + 0.05) ** 2
    weight /= weight.sum(1, keepdims=True)
    trust = 1 / (1 + np.exp((distance[:, 0] - MATCH_DISTANCE_CM) / 0.2))
    read = np.einsum("mnki,nk->mni", shapes[:, near], weight)
    smooth = _laplacian(found.faces, len(points))
    solve = factorized((0.3 * smooth + sp.diags(trust) + 1e-4 * sp.identity(len(points))).tocsc())
    columns = solve(trust[:, None] * np.moveaxis(read, 1, 0).reshape(len(points), -1))
    return np.moveaxis(columns.reshape(len(points), len(read), 3), 0, 1)


def _nearest(points: np.ndarray, among: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and numbers of the four nearest allowed points."""
    number = np.flatnonzero(allowed)
    distance, near = cKDTree(among[number]).query(points, k=4)
    return distance, number[near]


def _near_lips(points: np.ndarray) -> np.ndarray:
    """Whether ICT points lie around the line between the lips."""
    beside = np.maximum(np.abs(points[:, 0]) - ICT_CORNER_CM, 0)
    return np.hypot(beside, points[:, 1] - ICT_LIPS_Y_CM) < LIP_REACH_CM


def _carry_helpers(modes: np.ndarray, base: np.ndarray, skin: np.ndarray) -> None:
    """Move eyes, lashes and joints with the skin around them; each eyeball moves as one piece."""
    helpers = np.arange(BODY_VERTICES, BASE_VERTICES)
    helpers = helpers[(base[helpers, 1] > 5.9) & (np.abs(base[helpers, 0]) < 1.3)]
    distance, near = cKDTree(base[skin]).query(base[helpers], k=12)
    weight = 1 / (distance + 0.05)
    weight /= weight.sum(1, keepdims=True)
    modes[:, helpers] = np.einsum("mnki,nk->mni", modes[:, skin[near]], weight)
    for part in (*EYEBALLS, *(slice(first, first + 8) for first in EYE_JOINTS)):
        modes[:, part] = modes[:, part].mean(1, keepdims=True)
