# SPDX-License-Identifier: Apache-2.0
"""Spectacles made from a few numbers: rims, bridge, temples behind the ears, clear or tinted lenses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from backend.raycast import Caster
from backend.training.body_piece import BodyCanvas
from backend.training.light import linear_from_srgb
from backend.training.pieces import EYE, GLASSES
from backend.training.subject import CLEAR, SOLID, Hits, Surface

Color = tuple[float, float, float]
EYE_M = np.array([0.0315, 0.0304, 0.110])  # The left pupil in canonical space.
DROP_M = 0.002  # The lens's middle lies below the pupil.
CLEARANCE_M, CORNEA_M = 0.0015, 0.009
WRAP_RADIUS_M = 0.16  # The front bends around the face.
EAR_TOP_M, EAR_BACK_M = np.array([0.0755, 0.030, 0.012]), np.array([0.0745, 0.008, -0.010])
RIM_POINTS, SIDES = 40, 6
FRAME_COLORS: tuple[Color, ...] = (
    (0.06, 0.06, 0.065), (0.06, 0.06, 0.065), (0.22, 0.12, 0.07), (0.38, 0.24, 0.14), (0.70, 0.60, 0.38),
    (0.62, 0.63, 0.65), (0.12, 0.14, 0.25), (0.42, 0.10, 0.12), (0.75, 0.72, 0.70),
)  # fmt: skip
FRAME_SHINE, LENS_SHINE = 0.55, 1.0


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses.

    Args:
        width_m: Of one lens.
        height_m: Of one lens.
        squareness: 2 is an ellipse, 6 nearly a rectangle.
        rim_m: Radius of the rims and the temples.
        rim_color: sRGB.
        tint_color: sRGB of the lenses.
        tint: How much the lenses hide; about 0.04 is clear, 0.9 sunglasses.
    """

    width_m: float
    height_m: float
    squareness: float
    rim_m: float
    rim_color: Color
    tint_color: Color
    tint: float

    def to_vector(self) -> Float[np.ndarray, "11"]:
        """All numbers, metres and sRGB."""
        shape = [self.width_m, self.height_m, self.squareness, self.rim_m]
        return np.array([*shape, *self.rim_color, *self.tint_color, self.tint], np.float32)


def sample_glasses(rng: np.random.Generator) -> Glasses:
    """Reading glasses, or sunglasses now and then."""
    is_sun = rng.random() < 0.2
    width = float(rng.uniform(0.044, 0.056))
    metal = rng.random() < 0.35
    tint = (rng.uniform(0.04, 0.18) if is_sun else 0.7) * np.clip(rng.normal(1.0, 0.15, 3), 0.6, 1.35)
    return Glasses(
        width_m=width,
        height_m=width * float(rng.uniform(0.62, 0.95)),
        squareness=float(rng.uniform(2.0, 5.0)),
        rim_m=float(rng.uniform(0.0006, 0.0009) if metal else rng.uniform(0.0011, 0.0024)),
        rim_color=FRAME_COLORS[rng.integers(len(FRAME_COLORS))],
        tint_color=(float(tint[0]), float(tint[1]), float(tint[2])),
        tint=float(rng.uniform(0.7, 0.93) if is_sun else rng.uniform(0.02, 0.07)),
    )


class GlassesPiece:
    """The frame or the lenses on a head.

    Args:
        vertices: World coordinates, metres.
        faces: Triangles.
        kind: ``subject.SOLID`` or ``CLEAR``.
        paint: Linear RGB, and how much is hidden behind.
        shine: 0 to 1.
    """

    bake_spacing = 0.006

    def __init__(
        self, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], kind: int,
        *, paint: Float[np.ndarray, "4"], shine: float,
    ) -> None:  # fmt: skip
        self.vertices, self.canonical, self.faces, self.kind = vertices, vertices, faces, kind
        self.part = np.full(len(faces), GLASSES)
        self._paint, self._shine = paint.astype(np.float32), shine

    def surface(self, hits: Hits) -> Surface:
        """The same everywhere."""
        count = len(hits.triangle)
        albedo = np.tile(self._paint[:3], (count, 1))
        opacity = None if self.kind == SOLID else np.full(count, self._paint[3], np.float32)
        return Surface(albedo, np.full(count, self._shine, np.float32), opacity=opacity)


def wear(glasses: Glasses, canvas: BodyCanvas, vertices: Float[np.ndarray, "v 3"]) -> tuple[GlassesPiece, GlassesPiece]:
    """Frame and lenses on a head, whatever its pose.

    Args:
        glasses: What is worn.
        canvas: Of the body.
        vertices: The head's, from ``canvas.vertices``.
    """
    turn, shift = _pose_of(canvas, vertices)
    upright = (vertices - shift) @ turn  # In canonical axes.
    skin = Caster(upright, canvas.faces)
    rims = [_rim(glasses, side, skin) for side in (1.0, -1.0)]
    moved = upright - canvas.canonical
    parts = [_tube(rim, glasses.rim_m, closed=True) for rim in rims]
    parts.append(_tube(_bridge(rims, glasses), glasses.rim_m, closed=False))
    for rim, side in zip(rims, (1.0, -1.0), strict=True):
        parts.append(_tube(_temple(rim, side, canvas, moved=moved, skin=skin), 0.9 * glasses.rim_m, closed=False))
    frame, lenses = _joined(parts), _joined([_lens(rim) for rim in rims])
    rim_paint = np.array([*linear_from_srgb(np.array(glasses.rim_color)), 1.0])
    lens_paint = np.array([*linear_from_srgb(np.array(glasses.tint_color)), glasses.tint])
    return (
        GlassesPiece(frame.vertices @ turn.T + shift, frame.faces, SOLID, paint=rim_paint, shine=FRAME_SHINE),
        GlassesPiece(lenses.vertices @ turn.T + shift, lenses.faces, CLEAR, paint=lens_paint, shine=LENS_SHINE),
    )


class _Mesh(NamedTuple):
    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]


def _pose_of(canvas: BodyCanvas, vertices: Float[np.ndarray, "v 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and shift that carry the mean head's eyeballs and upper head to this head's (Kabsch)."""
    chosen = (canvas.canonical[:, 1] > 0.0) & (canvas.canonical[:, 2] > 0.0)
    chosen[np.unique(canvas.faces[canvas.part == EYE])] = True
    before, after = canvas.canonical[chosen], vertices[chosen]
    u, _, vt = np.linalg.svd((after - after.mean(0)).T @ (before - before.mean(0)))
    turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return turn, after.mean(0) - turn @ before.mean(0)


def _rim(glasses: Glasses, side: float, skin: Caster) -> Float[np.ndarray, "n 3"]:
    """Middle line of one rim, from the nose around, just before the skin."""
    angle = np.linspace(0, 2 * np.pi, RIM_POINTS, endpoint=False)
    power = 2 / glasses.squareness
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * glasses.width_m / 2
    along = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * glasses.height_m / 2
    x = EYE_M[0] + 0.0015 + across
    along = along * (1 - 0.10 * across / glasses.width_m * np.sign(-along))  # A little higher outside.
    points = np.stack([side * x, EYE_M[1] - DROP_M + along, -(x**2) / (2 * WRAP_RADIUS_M)], axis=1)
    start = points.copy()
    start[:, 2] = 0.5
    _, _, distance = skin.first_hit(start, np.broadcast_to([0.0, 0.0, -1.0], start.shape))
    lift = np.where(np.isfinite(distance), 0.5 - distance - points[:, 2], -1.0)
    before_eye = EYE_M[2] + CORNEA_M + EYE_M[0] ** 2 / (2 * WRAP_RADIUS_M)
    # Rests on the nose; brows and cheeks may touch it.
    points[:, 2] += max(before_eye, float(np.quantile(lift, 0.85)) + CLEARANCE_M + glasses.rim_m)
    return points


def _bridge(rims: list[Float[np.ndarray, "n 3"]], glasses: Glasses) -> Float[np.ndarray, "b 3"]:
    """An arch from rim to rim over the nose."""
    ends = [rim[np.abs(rim[:, 0]).argmin()] + np.array([0.0, 0.18 * glasses.height_m, 0.0]) for rim in rims]
    share = np.linspace(0, 1, 9)[:, None]
    arch = np.array([0.0, 0.0025, 0.0035]) * (4 * share * (1 - share))
    return ends[0] * (1 - share) + ends[1] * share + arch


def _temple(
    rim: Float[np.ndarray, "n 3"], side: float, canvas: BodyCanvas, *, moved: Float[np.ndarray, "v 3"], skin: Caster
) -> Float[np.ndarray, "t 3"]:
    """From the rim's outer upper end past the temple to the ear, and down behind it."""
    mirror = np.array([side, 1.0, 1.0])
    start = rim[np.abs(rim[:, 0]).argmax()] + np.array([0.0, 0.25 * np.ptp(rim[:, 1]), 0.0])
    top, back = (
        place + moved[np.linalg.norm(canvas.canonical - place, axis=1).argmin()]
        for place in (EAR_TOP_M * mirror, EAR_BACK_M * mirror)
    )
    hinge = start + np.array([0.0025 * side, 0.0, -0.002])
    share = np.linspace(0, 1, 9)[:, None]
    path = np.concatenate([start[None], hinge * (1 - share) + top * share, back[None]])
    outside = path.copy()
    outside[:, 0] = 0.3 * side
    _, _, distance = skin.first_hit(outside, np.broadcast_to([-side, 0.0, 0.0], outside.shape))
    bare = np.where(np.isfinite(distance), 0.3 - distance, 0.0) + CLEARANCE_M
    # Beside the skin, but the ear itself lies outside the temple.
    width = np.maximum(np.abs(path[:, 0]), np.minimum(bare, np.abs(path[:, 0]) + 0.010))
    path[1:-2, 0] = side * width[1:-2]
    path[-2, 0] = path[-3, 0]
    return path


def _lens(rim: Float[np.ndarray, "n 3"]) -> _Mesh:
    """A slightly bulging disc in the rim."""
    middle = rim.mean(0)
    inner = middle + 0.5 * (rim - middle) + [0.0, 0.0, 0.0016]
    vertices = np.concatenate([rim, inner, middle[None] + np.array([0.0, 0.0, 0.0022])])
    count = len(rim)
    here, after = np.arange(count), (np.arange(count) + 1) % count
    faces = np.concatenate(
        [
            np.stack([here, after, here + count], axis=1),
            np.stack([after, after + count, here + count], axis=1),
            np.stack([here + count, after + count, np.full(count, 2 * count)], axis=1),
        ]
    )
    is_mirrored = middle[0] < 0
    return _Mesh(vertices, faces[:, ::-1] if is_mirrored else faces)


def _tube(path: Float[np.ndarray, "n 3"], radius: float, *, closed: bool) -> _Mesh:
    """A round bar along a path."""
    ahead = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0) if closed else np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True).clip(1e-9)
    # No bar runs along this direction.
    side = np.cross(ahead, [0.05, 0.25, 1.0] if closed else [0.1, 1.0, 0.2])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    over = np.cross(side, ahead)
    angle = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)[:, None, None]
    rings = path + radius * (np.cos(angle) * side + np.sin(angle) * over)
    vertices = rings.transpose(1, 0, 2).reshape(-1, 3)
    count = len(path) if closed else len(path) - 1
    here = (np.arange(count)[:, None] * SIDES + np.arange(SIDES)).ravel()
    around = (np.arange(count)[:, None] * SIDES + (np.arange(SIDES) + 1) % SIDES).ravel()
    total = len(path) * SIDES
    far, far_around = (here + SIDES) % total, (around + SIDES) % total
    faces = np.concatenate([np.stack([here, far, around], axis=1), np.stack([around, far, far_around], axis=1)])
    return _Mesh(vertices, faces)


def _joined(meshes: Sequence[_Mesh]) -> _Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return _Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts[:-1], strict=True)]),
    )
