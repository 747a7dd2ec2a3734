# SPDX-License-Identifier: Apache-2.0
"""Body poses as 3DPortraitGAN takes them: axis and angle of the neck joint, then of the head joint, radians.

Source:
    Wu et al. 2023, 3DPortraitGAN: Learning One-Quarter Headshot 3D GANs, arXiv:2307.14770.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from backend.generator.layers import FullyConnected

POSE_DIM = 6
# Entries of a label that change sign when the photo is mirrored: the pose's [0, 1], [0, 2], [0, 3], [1, 0] and [2, 0].
_MIRRORED_LABEL = (1, 2, 3, 4, 8)
_MIRRORED_POSE = (1, 2, 4, 5)


def is_left(label: Float[Tensor, "b 25"]) -> Bool[Tensor, "b"]:
    """Whether the camera stands at x >= 0."""
    return label[:, 3] >= 0


def mirror_label(label: Float[Tensor, "b 25"]) -> Float[Tensor, "b 25"]:
    """The camera that sees the mirrored head."""
    return _negate(label, _MIRRORED_LABEL)


def mirror_pose(pose: Float[Tensor, "b 6"]) -> Float[Tensor, "b 6"]:
    """The pose of the mirrored body."""
    return _negate(pose, _MIRRORED_POSE)


def _negate(x: Tensor, entries: Sequence[int]) -> Tensor:
    signs = x.new_ones(x.shape[1])
    signs[list(entries)] = -1
    return x * signs


class PoseBranch(nn.Module):
    """Dense layers from numbers to a body pose.

    Args:
        in_features: Of the input.
        widths: Of the hidden layers.
    """

    def __init__(self, in_features: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [in_features, *widths]
        hidden = [FullyConnected(*pair, activation="lrelu") for pair in pairwise(sizes)]
        self.net = nn.Sequential(*hidden, FullyConnected(sizes[-1], POSE_DIM))

    def forward(self, x: Float[Tensor, "b n"]) -> Float[Tensor, "b 6"]:
        """One pose per row."""
        return self.net(x)

    def drawn(self, z: Float[Tensor, "b z_dim"], label: Float[Tensor, "b 25"]) -> Float[Tensor, "b 6"]:
        """A plausible pose of a head seen by a camera; mirrored cameras give mirrored poses."""
        left = is_left(label)[:, None]
        pose = self(torch.cat([z, torch.where(left, mirror_label(label), label)], dim=1))
        return torch.where(left, mirror_pose(pose), pose)
