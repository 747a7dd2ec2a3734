# SPDX-License-Identifier: Apache-2.0
"""Carries ICT-FaceKit's identity modes (MIT) onto the MakeHuman base mesh.

Four landmarks give a similarity; smooth non-rigid registration then lays the MakeHuman skin on the ICT head, and
each mode is read off the nearest ICT vertices. The modes fade out below the jaw, where ICT has no counterpart.

Source: Amberg, Romdhani and Vetter 2007, "Optimal step nonrigid ICP", with a point-to-plane data term.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import factorized
from scipy.spatial import cKDTree

from backend.errors import ModelError
from backend.mesh import vertex_normals
from backend.training.makehuman import BASE_VERTICES, BODY_VERTICES, EYE_JOINTS, EYEBALLS, MakeHuman, joint

ICT_HEAD_VERTICES = 11248  # Face, head and neck; sockets, teeth and eyeballs follow.
ICT_EYEBALLS = (slice(21451, 23021), slice(23021, 24591))
STIFFNESS = (50.0, 20.0, 10.0, 5.0, 3.0, 2.0, 1.0, 1.0)
HEAD_BOTTOM_DM = 5.6
FADE_DM = (5.95, 0.12)
MATCH_DISTANCE_CM = 1.0


@dataclass(frozen=True)
class IctHead:
    """ICT-FaceKit as arrays, in centimetres: neutral head, triangles of its skin, identity modes."""

    neutral: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    identity: Float[np.ndarray, "k v 3"]


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
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise ModelError(
            f"The ICT-FaceKit file {path} cannot be read ({error}); point --assets at it.", code="asset_missing"
        ) from error
    triangles = np.concatenate([quads[:, :3], quads[quads[:, 3] >= 0][:, [0, 2, 3]]])
    skin = triangles[triangles.max(1) < ICT_HEAD_VERTICES]
    return IctHead(neutral[:ICT_HEAD_VERTICES], skin, identity[:, :ICT_HEAD_VERTICES])


def identity_modes(makehuman: MakeHuman, path: Path) -> Float[np.ndarray, "k 19158 3"]:
    """ICT's identity modes as offsets of the MakeHuman base mesh, decimetres per standard deviation."""
    ict = load_ict(path)
    with np.load(path) as archive:
        eyeballs = [archive["neutral"][part].mean(0) for part in ICT_EYEBALLS]
    base = makehuman.base.vertices
    faces = makehuman.body.faces
    in_head = (base[faces][:, :, 1].min(1) > HEAD_BOTTOM_DM) & (np.abs(base[faces][:, :, 0]).max(1) < 1.3)
    skin = np.unique(faces[in_head])
    skin_faces = np.searchsorted(skin, faces[in_head])
    scale, turn, shift = _similarity(_makehuman_landmarks(base), _ict_landmarks(ict, eyeballs))
    start = base[skin] @ turn.T * scale + shift
    registered = _register(start, skin_faces, ict)
    offsets = _read_modes(registered, skin_faces, ict) @ turn / scale
    fade = 1 / (1 + np.exp(-(base[skin, 1] - FADE_DM[0]) / FADE_DM[1]))
    modes = np.zeros((len(offsets), BASE_VERTICES, 3), np.float32)
    modes[:, skin] = offsets * fade[:, None]
    _carry_helpers(modes, base, skin)
    return modes


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


def _register(start: np.ndarray, faces: np.ndarray, ict: IctHead) -> np.ndarray:
    """The MakeHuman skin laid on the ICT neutral head, centimetres."""
    tree = cKDTree(ict.neutral)
    ict_normals = vertex_normals(ict.neutral, ict.faces)
    smooth = _laplacian(faces, len(start))
    points = start.copy()
    index = np.arange(len(start))
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
        solve = factorized((smooth * stiffness + sp.diags(weight + 1e-4)).tocsc())
        points = start + np.stack([solve(weight * (goal - start)[:, axis]) for axis in range(3)], 1)
    return points


def _read_modes(points: np.ndarray, faces: np.ndarray, ict: IctHead) -> np.ndarray:
    """ICT's modes at registered points, filled smoothly where ICT has no nearby skin, centimetres."""
    distance, near = cKDTree(ict.neutral).query(points, k=4)
    weight = 1 / (distance + 0.05) ** 2
    weight /= weight.sum(1, keepdims=True)
    trust = 1 / (1 + np.exp((distance[:, 0] - MATCH_DISTANCE_CM) / 0.2))
    read = np.einsum("mnki,nk->mni", ict.identity[:, near], weight)
    smooth = _laplacian(faces, len(points))
    solve = factorized((0.3 * smooth + sp.diags(trust) + 1e-4 * sp.identity(len(points))).tocsc())
    columns = solve(trust[:, None] * np.moveaxis(read, 1, 0).reshape(len(points), -1))
    return np.moveaxis(columns.reshape(len(points), len(read), 3), 0, 1)


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
