# SPDX-License-Identifier: Apache-2.0
"""ARKit's 52 face shapes on the MakeHuman base mesh, as offsets in decimetres at weight 1.

Most are ICT-FaceKit's, carried over by ``ict``; MakeHuman's own units close the lids, which they were made for. Gaze
turns the eyeballs. ``tongueOut`` moves the tongue alone; teeth and tongue are in ``mouth``. Right shapes are the left
ones' mirror images.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from backend.mesh import vertex_normals
from backend.training.ict import ict_expressions
from backend.training.makehuman import BODY_VERTICES, EYE_JOINTS, EYEBALLS, MakeHuman, joint

SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp",
    "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch",
    "mouthUpperUp", "noseSneer",
)  # fmt: skip
# Both sides of ICT's shapes together.
JOINED = ("browInnerUp", "cheekPuff")
MIDDLE = (
    "jawForward", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper",
)  # fmt: skip
TURNED = ("jaw", "mouth")  # jawLeft is the mirror image of jawRight.
ARKIT_NAMES = tuple(
    sorted(
        [f"{name}{side}" for name in (*SIDED, *TURNED) for side in ("Left", "Right")] + [*JOINED, *MIDDLE, "tongueOut"]
    )
)
# Share of ICT's shape, and what of MakeHuman's units is added to it.
MIXTURES: dict[str, tuple[float, dict[str, float]]] = {
    "eyeBlink": (0.0, {"eye-left-closure": 1.0}),
    "eyeSquint": (1.4, {"eye-left-slit": 0.35}),
    "browDown": (1.0, {"eyebrows-left-down": 0.5}),
}
# Turns of the eyeball about its centre: axis and degrees, left eye; the axis points to +x or +y.
GAZE = {"eyeLookUp": (0, -25.0), "eyeLookDown": (0, 25.0), "eyeLookIn": (1, -28.0), "eyeLookOut": (1, 28.0)}
LID_SHARE = 0.7  # Of ICT's lid movement when the gaze turns.
LID_CLEARANCE_DM = 0.012
LID_REACH_DM = 0.21


@lru_cache(maxsize=2)
def arkit_expressions(makehuman: MakeHuman, ict: Path) -> dict[str, Float[np.ndarray, "19158 3"]]:
    """Every face shape but ``tongueOut`` by its ARKit name.

    Args:
        makehuman: The MakeHuman assets.
        ict: The ICT-FaceKit archive.
    """
    carried = ict_expressions(makehuman, ict)
    base = makehuman.base.vertices
    _, mirror = cKDTree(base).query(base * [-1, 1, 1])
    found: dict[str, np.ndarray] = {}
    for name in SIDED:
        left = _left(makehuman, carried, mirror, name)
        found[f"{name}Left"], found[f"{name}Right"] = left, mirrored(left, mirror)
    for name in JOINED:
        found[name] = _symmetric(carried[f"{name}_L"] + carried[f"{name}_R"], mirror)
    for name in MIDDLE:
        found[name] = _symmetric(carried[name], mirror)
    for name in TURNED:
        left = (carried[f"{name}Left"] + mirrored(carried[f"{name}Right"], mirror)) / 2
        found[f"{name}Left"], found[f"{name}Right"] = left, mirrored(left, mirror)
    return {name: _with_still_eyes(found[name], name) for name in ARKIT_NAMES if name in found}


def with_whole_lids(
    makehuman: MakeHuman, shapes: dict[str, Float[np.ndarray, "19158 3"]]
) -> dict[str, Float[np.ndarray, "19158 3"]]:
    """The shapes for a skin that the eyeballs cut off: the lids' inner sides, which face them, go with their rims.

    MakeHuman's lag behind, where nobody sees them; the cut runs through them, and would fray when the lids move.
    """
    base = makehuman.base.vertices
    _, mirror = cKDTree(base).query(base * [-1, 1, 1])
    arm, distance, _ = _around_left_eye(base)
    is_inner = (vertex_normals(base, makehuman.body.faces)[:BODY_VERTICES] * arm).sum(1) < 0
    is_lid = (arm[:, 2] > 0) & (distance < LID_REACH_DM)
    inner, outer = np.flatnonzero(is_lid & is_inner), np.flatnonzero(is_lid & ~is_inner)
    _, nearest = cKDTree(base[outer]).query(base[inner])
    whole = dict(shapes)
    for side in ("Left", "Right"):
        for name in [name for name in shapes if name.startswith("eye") and name.endswith(side)]:
            left = shapes[name].copy() if side == "Left" else mirrored(shapes[name], mirror)
            left[inner] = left[outer[nearest]]
            whole[name] = left if side == "Left" else mirrored(left, mirror)
    return whole


def _with_still_eyes(offsets: np.ndarray, name: str) -> np.ndarray:
    """Eyeballs and their joints stay where they are, whatever the skin around them does; only gaze turns them."""
    for cube in EYE_JOINTS:
        offsets[cube : cube + 8] = 0
    if not name.startswith("eyeLook"):
        for ball in EYEBALLS:
            offsets[ball] = 0
    return offsets


def mirrored(offsets: Float[np.ndarray, "n 3"], mirror: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n 3"]:
    """The same movement on the other side of the head."""
    return offsets[mirror] * np.array([-1, 1, 1], offsets.dtype)


def _symmetric(offsets: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return (offsets + mirrored(offsets, mirror)) / 2


def _left(makehuman: MakeHuman, carried: dict[str, np.ndarray], mirror: np.ndarray, name: str) -> np.ndarray:
    """The left one of a pair of shapes."""
    offsets = (carried[f"{name}_L"] + mirrored(carried[f"{name}_R"], mirror)) / 2
    share, units = MIXTURES.get(name, (LID_SHARE if name in GAZE else 1.0, {}))
    mixed = share * offsets + sum(
        weight * makehuman.target(f"expression/units/caucasian/{unit}") for unit, weight in units.items()
    )
    base = makehuman.base.vertices
    if name in GAZE:
        mixed[EYEBALLS[1]] = 0
        mixed[EYEBALLS[0]] = _turned(base[EYEBALLS[0]], joint(base, EYE_JOINTS[0]), *GAZE[name])
    return _lids_before_eye(base, mixed) if name.startswith("eye") else mixed


def _turned(points: np.ndarray, centre: np.ndarray, axis: int, degrees: float) -> np.ndarray:
    """Offsets of points that turn about a centre, counter-clockwise seen from the tip of the axis."""
    angle = np.radians(degrees)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    arm = points - centre
    offsets = np.zeros_like(points)
    offsets[:, first] = (np.cos(angle) - 1) * arm[:, first] - np.sin(angle) * arm[:, second]
    offsets[:, second] = (np.cos(angle) - 1) * arm[:, second] + np.sin(angle) * arm[:, first]
    return offsets


def _around_left_eye(base: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """From the left eyeball's centre to each vertex of the skin, how far that is, and the eyeball's radius."""
    centre = joint(base, EYE_JOINTS[0])
    arm = base[:BODY_VERTICES] - centre
    return arm, np.linalg.norm(arm, axis=1), float(np.linalg.norm(base[EYEBALLS[0]] - centre, axis=1).max())


def _lids_before_eye(base: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Lift moved skin that would sink into the left eyeball out of it, by no more than its distance at rest."""
    arm, rest, radius = _around_left_eye(base)
    moves = np.linalg.norm(offsets[:BODY_VERTICES], axis=1) > 1e-4
    lid = np.flatnonzero(moves & (rest < LID_REACH_DM) & (arm[:, 2] > 0))
    goal = np.minimum(rest[lid], radius + LID_CLEARANCE_DM)
    placed = arm[lid] + offsets[lid]
    now = np.linalg.norm(placed, axis=1)
    lifted = offsets.copy()
    lifted[lid] += placed * (np.maximum(goal / now, 1) - 1)[:, None]
    return lifted
