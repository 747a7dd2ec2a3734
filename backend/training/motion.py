# SPDX-License-Identifier: Apache-2.0
"""What a person does for a portrait: the face by ARKit's names, where the eyes look, how the head is held."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from backend.skeleton import POSE_SIZE, Skeleton
from backend.training.heads import HeadShapes
from backend.training.makehuman import head_skeleton, pose_head, to_canonical
from backend.training.mouth import Mouth

# Faces that people make, as weights of ARKit's shapes; a name without side stands for both.
FACES: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile": 0.7, "cheekSquint": 0.4, "eyeSquint": 0.2},
    "laugh": {"mouthSmile": 0.8, "jawOpen": 0.35, "mouthUpperUp": 0.3, "cheekSquint": 0.6, "eyeSquint": 0.4},
    "talk": {"jawOpen": 0.3, "mouthFunnel": 0.25, "mouthLowerDown": 0.2},
    "shout": {"jawOpen": 0.8, "mouthUpperUp": 0.4, "mouthLowerDown": 0.4, "browDown": 0.3},
    "surprise": {"jawOpen": 0.35, "eyeWide": 0.6, "browInnerUp": 0.7, "browOuterUp": 0.6},
    "frown": {"browDown": 0.7, "mouthFrown": 0.4, "mouthPress": 0.3},
    "sad": {"browInnerUp": 0.7, "mouthFrown": 0.6, "mouthShrugLower": 0.3},
    "disgust": {"noseSneer": 0.7, "mouthUpperUp": 0.4, "browDown": 0.3},
    "kiss": {"mouthPucker": 0.8},
    "blink": {"eyeBlink": 1.0},
    "smirk": {"mouthSmileLeft": 0.6, "mouthDimpleLeft": 0.3},
    "puff": {"cheekPuff": 0.7, "mouthPress": 0.3},
}
SINGLE = (
    "browInnerUp", "cheekPuff", "jawForward", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "tongueOut",
)  # fmt: skip
CALM_SHARE = 0.35
RESTLESS = (
    "jawOpen", "mouthSmile", "mouthFrown", "browInnerUp", "browDown", "eyeSquint", "eyeBlink", "mouthPress",
)  # fmt: skip
STRAY = 0.06  # Weight of those on everybody's face.


@dataclass(frozen=True)
class Motion:
    """A moment of a face.

    Args:
        expression: Weights of ARKit's shapes; what is not named is 0.
        pose: Rotation vectors of neck and head, radians; see ``backend.skeleton``.
    """

    expression: Mapping[str, float] = field(default_factory=dict)
    pose: Float[np.ndarray, "6"] = field(default_factory=lambda: np.zeros(POSE_SIZE))


@dataclass(frozen=True)
class FaceMover:
    """Moves MakeHuman's base mesh.

    Args:
        heads: Has the expressions.
        mouth: Teeth and tongue.
    """

    heads: HeadShapes
    mouth: Mouth

    def with_expression(self, base_dm: Float[np.ndarray, "19158 3"], motion: Motion) -> Float[np.ndarray, "19158 3"]:
        """The base mesh with its expression, not yet posed."""
        return self.heads.express(base_dm, motion.expression)

    def posed(self, expressed_dm: Float[np.ndarray, "19158 3"], motion: Motion) -> Float[np.ndarray, "19158 3"]:
        """The base mesh with neck and head turned."""
        return pose_head(self.heads.makehuman, expressed_dm, motion.pose)

    def posed_points(
        self, points: Float[np.ndarray, "n 3"], shares: Float[np.ndarray, "n 2"],
        expressed_dm: Float[np.ndarray, "19158 3"], motion: Motion,
    ) -> Float[np.ndarray, "n 3"]:  # fmt: skip
        """Points in metres that go with neck and head by ``shares``."""
        return Skeleton(to_canonical(head_skeleton(expressed_dm).joints)).place(points, shares, motion.pose)


def sample_motion(rng: np.random.Generator) -> Motion:
    """Somebody in front of a camera: often calm, sometimes not; looking into the camera or past it."""
    weights: dict[str, float] = {}
    if rng.random() > CALM_SHARE:
        face = FACES[str(rng.choice(list(FACES)))]
        strength = rng.uniform(0.3, 1.2)
        for name, weight in face.items():
            both = float(np.clip(weight * strength * rng.uniform(0.8, 1.2), 0, 1))
            weights.update({side: both * float(rng.uniform(0.85, 1.0)) for side in sides(name)})
    for name in RESTLESS:
        stray = abs(float(rng.normal(0, STRAY)))
        for side in sides(name):
            weights[side] = min(weights.get(side, 0.0) + stray, 1.0)
    for name, weight in gaze(float(rng.normal(0, 0.28)), float(rng.normal(0, 0.18))).items():
        weights[name] = weight
    turn = rng.normal(0, 1, 6) * np.radians([3.0, 5.0, 3.0, 5.0, 8.0, 5.0])
    return Motion(weights, np.clip(turn, -0.45, 0.45))


def gaze(left: float, up: float) -> dict[str, float]:
    """Weights of both eyes' shapes.

    Args:
        left: To the subject's left, -1 to 1.
        up: -1 to 1.
    """
    aside, raised = min(abs(left), 1.0), min(abs(up), 1.0)
    outer, inner = ("Left", "Right") if left > 0 else ("Right", "Left")
    vertical = "eyeLookUp" if up > 0 else "eyeLookDown"
    return {
        f"eyeLookOut{outer}": aside, f"eyeLookIn{inner}": aside,
        f"{vertical}Left": raised, f"{vertical}Right": raised,
    }  # fmt: skip


def sides(name: str) -> tuple[str, ...]:
    """ARKit's names that a name without side stands for."""
    if name.endswith(("Left", "Right")) or name in SINGLE:
        return (name,)
    return f"{name}Left", f"{name}Right"
