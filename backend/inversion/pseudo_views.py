# SPDX-License-Identifier: Apache-2.0
"""Losses at cameras that no photo was taken from: the portrait carried there by depth, and shape that should stay.

Source:
    Yin et al. 2023, 3D GAN inversion with facial symmetry prior (SPI), CVPR, section 3.3.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.generator.plane_generator import Images
from backend.inversion.cameras import Cameras
from backend.inversion.method import Head, Perception, PosedPortrait
from backend.inversion.perception import contextual_loss
from backend.inversion.regions import crop, region_boxes
from backend.inversion.warp import TOLERANCE, warp_portrait

ADJACENT_YAW, ADJACENT_PITCH = 0.2, 0.1
SHAPE_YAW, SHAPE_PITCH = 0.7, 0.2


@dataclass(frozen=True)
class PseudoViews:
    """How such views are drawn and rendered.

    Args:
        side: Edge of the canonical cube, world units.
        size_px: Side of the renderings.
        count: Cameras at a time.
        random: Draws the cameras.
        superresolve: Whether final or raw pictures are compared.
    """

    side: float
    size_px: int
    count: int
    random: torch.Generator
    superresolve: bool = True

    def around(self, cameras: Cameras, *, yaw: float, pitch: float) -> Cameras:
        """Cameras near the first one, evenly spread over both sides.

        Args:
            cameras: Where to start.
            yaw: Largest turn, radians.
            pitch: Largest rise, radians.
        """
        turns = torch.rand(2, self.count, generator=self.random).to(cameras.cam2world) * 2 - 1
        return cameras.turned(yaw * turns[0], pitch * turns[1])

    def render(self, head: Head, cameras: Cameras) -> Images:
        """Pictures of the head."""
        return head.render(cameras, size_px=self.size_px, superresolve=self.superresolve)

    @torch.no_grad()
    def depth(self, head: Head, cameras: Cameras) -> Float[Tensor, "b 1 r r"]:
        """Depth of the head, without a slope."""
        return head.render(cameras, size_px=self.size_px, superresolve=False).depth


def adjacent_loss(head: Head, portrait: PosedPortrait, perception: Perception, views: PseudoViews) -> Float[Tensor, ""]:
    """Difference between pictures beside the portrait's camera and the portrait warped there, where authentic."""
    cameras = views.around(portrait.cameras, yaw=ADJACENT_YAW, pitch=ADJACENT_PITCH)
    pictures = views.render(head, cameras)
    warped, authentic = _carried(portrait, views.depth(head, portrait.cameras), cameras, pictures, views)
    return perception.distance(pictures.image * authentic, warped * authentic)


def mirrored_loss(head: Head, portrait: PosedPortrait, perception: Perception, views: PseudoViews) -> Float[Tensor, ""]:
    """Contextual difference of eyes and mouth to the mirrored portrait, warped to cameras beside its own."""
    mirrored = portrait.mirrored()
    depth = views.depth(head, portrait.cameras).flip(3)
    cameras = views.around(mirrored.cameras, yaw=ADJACENT_YAW, pitch=ADJACENT_PITCH)
    pictures = views.render(head.on_mirrored_body(), cameras)
    warped, authentic = _carried(mirrored, depth, cameras, pictures, views)
    losses = []
    for boxes in region_boxes(mirrored, depth, cameras):
        ours, theirs = (crop(image * authentic, boxes) for image in (pictures.image, warped))
        losses.append(contextual_loss(perception.region_features(ours), perception.region_features(theirs)))
    return torch.stack(losses).mean()


def shape_loss(head: Head, before: Head, portrait: PosedPortrait, views: PseudoViews) -> Float[Tensor, ""]:
    """Squared change of depth, in sides of the cube, and of opacity, seen from both sides of the face.

    Args:
        head: Now.
        before: The head whose shape should stay.
        portrait: Its distance and lens are used.
        views: How to look.
    """
    front = portrait.cameras.turned(-portrait.cameras.yaw()[:1], torch.zeros_like(portrait.cameras.yaw()[:1]))
    cameras = views.around(front, yaw=SHAPE_YAW, pitch=SHAPE_PITCH)
    now = head.render(cameras, size_px=views.size_px, superresolve=False)
    with torch.no_grad():
        old = before.render(cameras, size_px=views.size_px, superresolve=False)
    depth = ((now.depth - old.depth) / views.side).square().mean()
    return depth + (now.opacity - old.opacity).square().mean()


def _carried(
    portrait: PosedPortrait, depth: Tensor, cameras: Cameras, pictures: Images, views: PseudoViews
) -> tuple[Tensor, Tensor]:
    """The portrait warped to pictures, at their size, and the authentic mask."""
    size = pictures.image.shape[-1]
    target_depth = pictures.depth.detach()
    if target_depth.shape[-1] != size:
        target_depth = functional.interpolate(target_depth, (size, size), mode="bilinear", align_corners=False)
    return warp_portrait(portrait.resized(size), depth, cameras, target_depth, tolerance=TOLERANCE * views.side)
