# SPDX-License-Identifier: Apache-2.0
"""A batch of cameras that can be mirrored, turned about the head, and carry pixels to points and back."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.camera import Camera


@dataclass(frozen=True)
class Cameras:
    """Square pinhole cameras with OpenCV axes.

    Args:
        cam2world: Camera axes and centre, world units; the head is near the origin.
        intrinsics: In image widths.
    """

    cam2world: Float[Tensor, "b 4 4"]
    intrinsics: Float[Tensor, "b 3 3"]

    def __len__(self) -> int:
        return len(self.cam2world)

    def to(self, device: torch.device) -> "Cameras":
        """The same on a device."""
        return Cameras(self.cam2world.to(device), self.intrinsics.to(device))

    def yaw(self) -> Float[Tensor, "b"]:
        """Where the cameras stand: 0 in front of the face (+z), positive at +x, radians."""
        return torch.atan2(self.cam2world[:, 0, 3], self.cam2world[:, 2, 3])

    def mirrored(self) -> "Cameras":
        """The cameras that see the mirrored head as these see the head: their images are flipped left to right."""
        sign = self.cam2world.new_tensor([-1.0, 1.0, 1.0, 1.0])
        intrinsics = self.intrinsics.clone()
        intrinsics[:, 0, 1] = -intrinsics[:, 0, 1]
        intrinsics[:, 0, 2] = 1 - intrinsics[:, 0, 2]
        return Cameras(sign[:, None] * self.cam2world * sign, intrinsics)

    def turned(self, yaw: Float[Tensor, "k"], pitch: Float[Tensor, "k"]) -> "Cameras":
        """The first camera carried around the origin.

        Args:
            yaw: Radians, positive towards +x from the front.
            pitch: Radians, positive upwards.
        """
        azimuth = self.yaw()[:1]
        turn = _turn(1, azimuth + yaw) @ _turn(0, -pitch) @ _turn(1, -azimuth)
        cam2world = self.cam2world[:1].repeat(len(yaw), 1, 1)
        cam2world[:, :3] = turn.to(cam2world) @ cam2world[:, :3]
        return Cameras(cam2world, self.intrinsics[:1].expand(len(yaw), -1, -1))

    def lift(self, places: Float[Tensor, "b n 2"], distances: Float[Tensor, "b n"]) -> Float[Tensor, "b n 3"]:
        """World points that appear at image positions, in image widths, this far from the camera's centre."""
        ahead = torch.cat([places, torch.ones_like(places[..., :1])], dim=-1)
        through = ahead @ self.intrinsics.inverse().transpose(1, 2) @ self.cam2world[:, :3, :3].transpose(1, 2)
        return self.cam2world[:, None, :3, 3] + distances[..., None] * functional.normalize(through, dim=-1)

    def project(self, points: Float[Tensor, "b n 3"]) -> tuple[Float[Tensor, "b n 2"], Float[Tensor, "b n"]]:
        """Where world points appear, image widths, and how far from the camera's centre they are, world units.

        Points behind the camera have negative distances.
        """
        placed = (points - self.cam2world[:, None, :3, 3]) @ self.cam2world[:, :3, :3]
        ahead = placed[..., 2:]
        image = placed / torch.where(ahead.abs() < 1e-9, 1e-9, ahead) @ self.intrinsics.transpose(1, 2)
        return image[..., :2], placed.norm(dim=-1) * ahead[..., 0].sign()


def pixel_places(size_px: int, device: torch.device) -> Float[Tensor, "n 2"]:
    """Pixel centres of a square image, image widths, row by row."""
    steps = (torch.arange(size_px, device=device) + 0.5) / size_px
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def cameras_of(*cameras: Camera) -> Cameras:
    """Single cameras as one batch."""
    poses, lenses = (
        np.stack(parts) for parts in zip(*((one.cam2world, one.intrinsics) for one in cameras), strict=True)
    )
    return Cameras(torch.from_numpy(poses).float(), torch.from_numpy(lenses).float())


def _turn(axis: int, angle: Float[Tensor, "k"]) -> Float[Tensor, "k 3 3"]:
    """Right-handed rotations about a coordinate axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = angle.cos()
    matrix[:, second, first], matrix[:, first, second] = angle.sin(), -angle.sin()
    return matrix
