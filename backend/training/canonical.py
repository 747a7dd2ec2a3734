# SPDX-License-Identifier: Apache-2.0
"""Everything about canonical space that training needs, made once from the assets and kept in one archive.

Canonical geometry depends on hair style and top alone, not on the person, so that a person's training data are colours
at points that are already there.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float16
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from backend.raycast import Caster
from backend.training.crowd import in_parallel
from backend.training.makehuman import MakeHuman, fit_proxy, to_canonical
from backend.training.masks import masks_at_uv
from backend.training.noise import value_noise
from backend.training.paint import smooth_step
from backend.training.solid import SIDE, BodySolid, carve, distance_lattice, lattice_points

HAIR_STYLES = (
    "short01", "short02", "short03", "short04", "bob01", "bob02", "long01", "ponytail01", "afro01", "braid01",
)  # fmt: skip
TOPS = (
    "female_casualsuit01", "female_casualsuit02", "female_elegantsuit01", "male_casualsuit01", "male_casualsuit02",
    "male_casualsuit03", "male_casualsuit05", "male_casualsuit06", "male_elegantsuit01", "male_worksuit01",
)  # fmt: skip
LATTICE_NODES = 96
BODY_POINTS = 150_000
CAVITY_POINTS = 3000
# The mouth's filled back wall looks like MakeHuman's mouth in this place of the rest mesh, dark red.
DEEP_IN_MOUTH_DM = np.array([0.0, 6.6, 1.27])
POOL_POINTS = 60_000
POOL_BAND_M = 0.014
SUNK_M = 0.015  # Where a style has nothing, its surface lies this deep under the skin.
CROWN_Z = -0.015
LOCKS_AROUND, LOCKS_PER_M, CURLS_PER_M = 5.0, 7.0, 40.0
FACE_CENTRE_M = np.array([0.0, -0.01, 0.11])


@dataclass(frozen=True)
class CanonicalSet:
    """Points and lattices of canonical space, metres.

    Args:
        body_points: On skin and eyeballs, denser on the face.
        body_normals: Unit vectors out of the body there.
        body_base: The same points on MakeHuman's rest mesh, decimetres.
        body_masks: Skin masks there, columns as in ``mask_names``.
        body_is_eye: Whether the point lies on an eyeball.
        body_shade: Ambient light that reaches the point, 0 to 1.
        mask_names: Of the columns of ``body_masks``.
        hair: Signed distance of each hair style, sunk under the skin where it has none.
        hair_pool: Points near each hair style's surface.
        tops: As ``hair``.
        top_pool: As ``hair_pool``.
        noise: Locks that run along falling hair, and curls; about [-1, 1].
        body: Signed distance of the body.
    """

    body_points: Float[np.ndarray, "p 3"]
    body_normals: Float[np.ndarray, "p 3"]
    body_base: Float[np.ndarray, "p 3"]
    body_masks: Float[np.ndarray, "p m"]
    body_is_eye: Bool[np.ndarray, "p"]
    body_shade: Float[np.ndarray, "p"]
    mask_names: np.ndarray
    hair: Float16[np.ndarray, "h r r r"]
    hair_pool: Float[np.ndarray, "h q 3"]
    tops: Float16[np.ndarray, "t r r r"]
    top_pool: Float[np.ndarray, "t q 3"]
    noise: Float16[np.ndarray, "2 r r r"]
    body: Float[np.ndarray, "r r r"]

    def save(self, path: Path) -> None:
        """Write all arrays to one ``.npz``."""
        np.savez(path, **{entry.name: getattr(self, entry.name) for entry in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "CanonicalSet":
        """Read what ``save`` wrote."""
        with np.load(path) as archive:
            return cls(**{entry.name: archive[entry.name] for entry in fields(cls)})


def build_canonical_set(
    makehuman: MakeHuman,
    solid: BodySolid,
    base_dm: Float[np.ndarray, "19158 3"],
    rng: np.random.Generator,
    *,
    workers: int = 1,
) -> CanonicalSet:
    """Make the set for the mean head ``base_dm`` (parted lips, decimetres) with so many processes."""
    half = np.full(3, SIDE / 2)
    body = distance_lattice(solid, -half, half, (LATTICE_NODES,) * 3)
    points, rest, uv, is_eye = _body_points(makehuman, solid, rng)
    masks = masks_at_uv(makehuman.folder / "mpfb2" / "textures", uv)
    cavity = solid.mouth_points(CAVITY_POINTS, rng)
    in_mouth = np.ones(len(cavity), np.float32)
    points, is_eye = np.concatenate([points, cavity]), np.concatenate([is_eye, in_mouth < 0])
    rest = np.concatenate([rest, np.tile(DEEP_IN_MOUTH_DM, (len(cavity), 1))])
    masks = {
        name: np.concatenate([mask, in_mouth if name == "inside-mouth" else 0 * in_mouth])
        for name, mask in masks.items()
    }
    normals = _normals(solid, points)
    proxies = [*_hairs(makehuman), *_tops(makehuman)]
    worn = [(to_canonical(fit_proxy(proxy, base_dm)), proxy.mesh.faces) for proxy in proxies]
    bare = (solid.vertices, solid.faces, body)
    lattices = list(in_parallel(_worn, worn, workers=workers, prepare=_keep_bare, given=bare))
    pools = np.stack([_pool(lattice, body, rng) for lattice in lattices])
    styles = len(HAIR_STYLES)
    return CanonicalSet(
        body_points=points.astype(np.float32),
        body_normals=normals.astype(np.float32),
        body_base=rest.astype(np.float32),
        body_masks=np.stack(list(masks.values()), axis=1).astype(np.float32),
        body_is_eye=is_eye,
        body_shade=_ambient(solid, points, normals).astype(np.float32),
        mask_names=np.array(list(masks)),
        hair=np.stack(lattices[:styles]).astype(np.float16),
        hair_pool=pools[:styles],
        tops=np.stack(lattices[styles:]).astype(np.float16),
        top_pool=pools[styles:],
        noise=hair_noise(LATTICE_NODES).astype(np.float16),
        body=body,
    )


def sample_lattice(lattice: Float[np.ndarray, "r r r"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Trilinear values of a lattice over the canonical cube."""
    index = (points / SIDE + 0.5).T * (lattice.shape[0] - 1)
    return map_coordinates(lattice, index, order=1, mode="nearest")


def hair_noise(nodes: int) -> Float[np.ndarray, "2 r r r"]:
    """Locks that run down from the crown, and curls, on the lattice of the canonical cube."""
    points = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (nodes,) * 3).reshape(-1, 3)
    across = points[:, [0, 2]] - [0.0, CROWN_Z]
    reach = np.linalg.norm(across, axis=1, keepdims=True)
    along = np.concatenate([across / reach.clip(1e-4) * LOCKS_AROUND, points[:, 1:2] * LOCKS_PER_M], axis=1)
    # Close to the axis the locks would become needles.
    locks = value_noise(along, 301) * smooth_step(reach[:, 0], 0.01, 0.04)
    return np.stack([locks, value_noise(points * CURLS_PER_M, 303)]).reshape(2, nodes, nodes, nodes)


def _hairs(makehuman: MakeHuman) -> list:
    return [makehuman.hair(name) for name in HAIR_STYLES]


def _tops(makehuman: MakeHuman) -> list:
    return [makehuman.top(name) for name in TOPS]


def _body_points(makehuman: MakeHuman, solid: BodySolid, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Random surface points: canonical, on the rest mesh, their base texture position, and whether on an eye."""
    base, eyes = makehuman.body, makehuman.eyes
    faces = solid.faces
    corners = solid.vertices[faces]
    centre = corners.mean(1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    inside = (np.abs(centre) < SIDE / 2).all(1)
    nearness = np.exp(-0.5 * (np.linalg.norm(centre - FACE_CENTRE_M, axis=1) / 0.05) ** 2)
    weight = area * inside * (1 + 8 * nearness)
    face = rng.choice(len(faces), BODY_POINTS, p=weight / weight.sum())
    share = rng.dirichlet([1.0, 1.0, 1.0], BODY_POINTS)
    points = (corners[face] * share[..., None]).sum(1)
    outward = np.abs(solid.distance(points)) < 0.001  # Not in the filled sockets and throat.
    face, share, points = face[outward], share[outward], points[outward]
    rest_vertices = np.concatenate([base.vertices, fit_proxy(eyes, base.vertices)])
    rest = (rest_vertices[faces[face]] * share[..., None]).sum(1)
    uv_corners = np.concatenate([base.uv[base.faces_uv], np.zeros((len(eyes.mesh.faces), 3, 2), np.float32)])
    uv = (uv_corners[face] * share[..., None]).sum(1)
    return points, rest, uv.astype(np.float32), face >= len(solid.skin_faces)


def _normals(solid: BodySolid, points: np.ndarray) -> np.ndarray:
    """Unit vectors along which the distance to the body grows."""
    step = 0.0005
    slope = np.stack(
        [solid.distance(points + step * axis) - solid.distance(points - step * axis) for axis in np.eye(3)], axis=1
    )
    return slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)


def _ambient(solid: BodySolid, points: np.ndarray, normals: np.ndarray, directions: int = 48) -> np.ndarray:
    """Cosine-weighted share of the sky that each surface point sees."""
    caster = Caster(solid.vertices, solid.faces)
    index = np.arange(directions) + 0.5
    height = 1 - 2 * index / directions
    turn = np.pi * (1 + 5**0.5) * index
    sky = np.stack([np.sqrt(1 - height**2) * np.cos(turn), height, np.sqrt(1 - height**2) * np.sin(turn)], axis=1)
    light, total = np.zeros(len(points)), np.zeros(len(points))
    for ray in sky:
        cosine = np.maximum(normals @ ray, 0)
        open_sky = ~caster.is_blocked(points + 0.001 * normals, np.broadcast_to(ray, points.shape), 0.3)
        light += cosine * open_sky
        total += cosine
    return light / np.maximum(total, 1e-6)


_bare: list[np.ndarray] = []  # Of this process: the bare body's vertices, faces and lattice.


def _keep_bare(vertices: np.ndarray, faces: np.ndarray, body: np.ndarray) -> None:
    _bare[:] = vertices, faces, body


def _worn(worn: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Hair or a top as a signed-distance lattice; sunk under the skin where the body is bare."""
    (bare_vertices, bare_faces, body), (vertices, faces) = _bare, worn
    kept = faces[(np.abs(vertices[faces]).max(axis=(1, 2)) < 0.6)]
    union = carve(
        np.concatenate([bare_vertices, vertices]),
        np.concatenate([bare_faces, kept + len(bare_vertices)]),
        resolution=LATTICE_NODES,
        lowest_deg=-20.0,
    )
    near = _distance_to(vertices[kept], body.shape[0])
    bare = np.clip((near - 0.006) / 0.012, 0, 1)
    return union + bare * (np.maximum(union, body + SUNK_M) - union)


def _distance_to(triangles: np.ndarray, nodes: int) -> np.ndarray:
    """Unsigned distance of lattice nodes to triangles, by dense samples on them, metres; at most 5 cm."""
    rng = np.random.default_rng(0)
    triangles = triangles[(np.abs(triangles) < SIDE / 2 + 0.03).all(axis=(1, 2))]
    edges = triangles[:, 1:] - triangles[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    chosen = rng.choice(len(triangles), 150_000, p=area / area.sum())
    samples = (triangles[chosen] * rng.dirichlet([1.0, 1.0, 1.0], len(chosen))[..., None]).sum(1)
    grid = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (nodes,) * 3)
    distance, _ = cKDTree(samples).query(grid.reshape(-1, 3), distance_upper_bound=0.05)
    return np.minimum(distance, 0.05).reshape(grid.shape[:3])


def _pool(lattice: np.ndarray, body: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random points in a thin band around a worn surface, outside the body."""
    found: list[np.ndarray] = []
    count = 0
    while count < POOL_POINTS:
        points = rng.uniform(-SIDE / 2, SIDE / 2, (400_000, 3))
        near = (np.abs(sample_lattice(lattice, points)) < POOL_BAND_M) & (sample_lattice(body, points) > -0.004)
        found.append(points[near].astype(np.float32))
        count += int(near.sum())
    return np.concatenate(found)[:POOL_POINTS]
