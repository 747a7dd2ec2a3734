# SPDX-License-Identifier: Apache-2.0
"""Eyes and mouth of a head, cut out of any view of it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend import face_mesh_points as landmark
from backend.inversion.cameras import Cameras
from backend.inversion.method import PosedPortrait

# Face-mesh landmarks at the corners, top and bottom of each region.
REGIONS = (
    (landmark.RIGHT_EYE_OUTER, landmark.RIGHT_EYE_INNER, 159, 145),
    (landmark.LEFT_EYE_OUTER, landmark.LEFT_EYE_INNER, 386, 374),
    (landmark.MOUTH_RIGHT, landmark.MOUTH_LEFT, 0, 17),
)
MARGIN = 0.045  # Image widths around a region.
REGION_PX = 64


def region_boxes(
    portrait: PosedPortrait, depth: Float[Tensor, "1 1 r r"], cameras: Cameras
) -> list[Float[Tensor, "b 4"]]:
    """Where each region appears in other cameras: left, top, right, bottom, image widths.

    Args:
        portrait: With landmarks; without them the whole picture is the only region.
        depth: Of the head at its camera; carries the landmarks to the other views.
        cameras: The other views.
    """
    if portrait.landmarks is None:
        return [torch.tensor([0.0, 0.0, 1.0, 1.0], device=depth.device).expand(len(cameras), 4)]
    boxes = []
    for points in REGIONS:
        places = portrait.landmarks[list(points)][None].to(depth)
        distance = functional.grid_sample(depth, (places * 2 - 1)[:, None], padding_mode="border", align_corners=False)
        world = portrait.cameras.lift(places, distance[:, 0, 0])
        appears, _ = cameras.project(world.expand(len(cameras), -1, -1))
        boxes.append(torch.cat([appears.amin(1) - MARGIN, appears.amax(1) + MARGIN], dim=1).detach())
    return boxes


def crop(image: Float[Tensor, "b c s s"], boxes: Float[Tensor, "b 4"]) -> Float[Tensor, "b c p p"]:
    """The boxes' content at one size, bilinear; differentiable in the image."""
    low, high = boxes[:, :2] * 2 - 1, boxes[:, 2:] * 2 - 1
    scale, centre = (high - low) / 2, (high + low) / 2
    matrix = torch.cat([torch.diag_embed(scale), centre[..., None]], dim=-1)
    grid = functional.affine_grid(matrix, [len(image), image.shape[1], REGION_PX, REGION_PX], align_corners=False)
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
