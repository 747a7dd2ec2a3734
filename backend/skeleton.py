# SPDX-License-Identifier: Apache-2.0
"""How neck and head turn: linear blend skinning with two joints above a still torso.

A pose is six numbers, as in 3DPortraitGAN: the rotation vectors of the neck and, on top of it, of the head, radians.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

POSE_SIZE = 6


@dataclass(frozen=True)
class Skeleton:
    """Two joints.

    Args:
        joints: Where neck and head turn, metres; world axes.
    """

    joints: Float[np.ndarray, "2 3"] = field(default_factory=lambda: np.zeros((2, 3)))

    def place(
        self, points: Float[np.ndarray, "p 3"], shares: Float[np.ndarray, "p 2"], pose: Float[np.ndarray, "6"]
    ) -> Float[np.ndarray, "p 3"]:
        """Points after neck and head have turned.

        Args:
            points: Before, metres.
            shares: Of each point that goes with the neck and with the head; the rest stays with the torso.
            pose: Radians.

        Source:
            Lewis et al. 2000, "Pose space deformation", section 2 (skeleton subspace deformation).
        """
        if not pose.any():
            return points.copy()
        neck, head = self.joints
        turn_neck, turn_head = Rotation.from_rotvec(pose[:3]), Rotation.from_rotvec(pose[3:])
        with_head = turn_neck.apply(turn_head.apply(points - head) + head - neck) + neck
        with_neck = turn_neck.apply(points - neck) + neck
        return points + shares[:, :1] * (with_neck - points) + shares[:, 1:] * (with_head - points)


def head_motion(
    skeleton: Skeleton, pose: Float[np.ndarray, "6"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Rotation and shift by which a pose moves points that go with the head altogether, metres."""
    neck, head = skeleton.joints
    turn_neck = Rotation.from_rotvec(pose[:3]).as_matrix()
    turn = turn_neck @ Rotation.from_rotvec(pose[3:]).as_matrix()
    return turn, turn_neck @ (head - neck) + neck - turn @ head
