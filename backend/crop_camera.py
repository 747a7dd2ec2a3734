# SPDX-License-Identifier: Apache-2.0
"""A portrait's camera as seven numbers that a picture shows directly, and back.

The camera is turned until its axis meets the picture's middle; what is left of perspective is a second-order
difference (below 2 % of the head's size for heads within 10 degrees of the lens axis).
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.camera import Camera
from backend.skeleton import Skeleton, head_motion

# Yaw, pitch and roll (radians), where the head's origin lies (image widths from the middle, right and down),
# logarithm of image widths per metre there, logarithm of the focal length (image widths).
CAMERA_SIZE = 7


def to_numbers(camera: Camera) -> Float[np.ndarray, "7"]:
    """The seven numbers of a camera before a head at the world's origin, metres."""
    focal = camera.intrinsics[0, 0]
    middle = np.array([*(0.5 - camera.intrinsics[:2, 2]) / focal, 1.0])
    rotation = _turn_from(middle) @ camera.cam2world[:3, :3].T
    lens = focal * np.linalg.norm(middle)
    head = -rotation @ camera.position
    backward = -rotation[2]
    yaw, pitch = np.arctan2(backward[0], backward[2]), np.arcsin(np.clip(backward[1], -1, 1))
    level = rotations(torch.tensor([[yaw, pitch, 0.0]], dtype=torch.float64))[0].numpy()
    leaning = rotation @ level.T
    roll = np.arctan2(leaning[1, 0], leaning[0, 0])
    return np.array([yaw, pitch, roll, *(lens * head[:2] / head[2]), np.log(lens / head[2]), np.log(lens)])


def to_camera(numbers: Float[np.ndarray, "7"]) -> Camera:
    """The camera of seven numbers, its axis in the picture's middle."""
    rotation = rotations(torch.from_numpy(numbers[None, :3].astype(np.float64)))[0].numpy()
    lens, depth = np.exp(numbers[6]), np.exp(numbers[6] - numbers[5])
    head = np.array([*(numbers[3:5] * depth / lens), depth])
    cam2world = np.eye(4)
    cam2world[:3, :3], cam2world[:3, 3] = rotation.T, -rotation.T @ head
    return Camera(cam2world, np.array([[lens, 0, 0.5], [0, lens, 0.5], [0, 0, 1.0]]))


def zoomed(camera: Camera, share: float) -> Camera:
    """The same camera for a picture of which the given one shows the middle ``share``, or the other way round."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, :2] *= share
    intrinsics[:2, 2] = 0.5 + (intrinsics[:2, 2] - 0.5) * share
    return Camera(camera.cam2world, intrinsics)


def before_the_head(camera: Camera, skeleton: Skeleton, pose: Float[np.ndarray, "6"]) -> Camera:
    """The camera as it stands to the head at rest, if it was before a torso whose neck and head had turned."""
    turn, shift = head_motion(skeleton, pose)
    cam2world = camera.cam2world.copy()
    cam2world[:3, :3] = turn.T @ camera.cam2world[:3, :3]
    cam2world[:3, 3] = turn.T @ (camera.position - shift)
    return Camera(cam2world, camera.intrinsics)


def rotations(angles: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3 3"]:
    """From the head's axes to the camera's, for yaw, pitch and roll as in ``pose.head_angles``, radians."""
    (yaw_sin, pitch_sin, roll_sin), (yaw_cos, pitch_cos, roll_cos) = angles.sin().T, angles.cos().T
    zero = torch.zeros_like(yaw_sin)
    right = torch.stack([yaw_cos, zero, -yaw_sin], dim=1)
    down = torch.stack([yaw_sin * pitch_sin, -pitch_cos, yaw_cos * pitch_sin], dim=1)
    forward = -torch.stack([yaw_sin * pitch_cos, pitch_sin, yaw_cos * pitch_cos], dim=1)
    turned = roll_cos[:, None] * right - roll_sin[:, None] * down, roll_sin[:, None] * right + roll_cos[:, None] * down
    return torch.stack([*turned, forward], dim=1)


def project_points(numbers: Float[Tensor, "b 7"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 2"]:
    """Where points of the head's frame (metres) appear, image widths from the top left; differentiable."""
    lens = numbers[:, 6].exp()[:, None]
    depth = (numbers[:, 6] - numbers[:, 5]).exp()[:, None]
    head = torch.cat([numbers[:, 3:5] * depth / lens, depth], dim=1)
    placed = points @ rotations(numbers[:, :3]).transpose(1, 2) + head[:, None]
    return 0.5 + lens[:, None] * placed[..., :2] / placed[..., 2:].clamp(min=0.05)


def _turn_from(direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The shortest rotation that carries a direction with positive z to the z axis (Rodrigues)."""
    x, y, z = direction / np.linalg.norm(direction)
    skew = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + z)
