# SPDX-License-Identifier: Apache-2.0
"""How neck and head of a photo are turned against the body, for generators that know: 3DPortraitGAN.

The landmarks tell how the camera sees the head. The generator's world is the body's, and its pose predictor asks for
the body's camera: both follow from each other within a few rounds.

Source:
    EG3D.md sections 4.2 to 4.5.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.camera import Camera
from backend.generator.body_model import BodyModel
from backend.generator.config import GeneratorConfig
from backend.generator.eg3d_camera import label_of
from backend.generator.pose_predictor import PosePredictor
from backend.generator.posed_head import PosedHead

ROUNDS = 3
MOST_DEG = 75.0  # That a neck or a head turns.
ADD_BODY = "Add one with “protome models add SMPL_NEUTRAL.pkl”"


@dataclass(frozen=True)
class Bodies:
    """What is installed of a generator of posed heads.

    Args:
        config: Of the generator.
        predictor: That came with the generator; on its device.
        body: Of the user's body model file.
    """

    config: GeneratorConfig
    predictor: PosePredictor | None = None
    body: BodyModel | None = None

    def fit(
        self, image: Float[Tensor, "1 3 s s"], mask: Float[Tensor, "1 1 s s"], camera: Camera
    ) -> tuple[Float[np.ndarray, "6"] | None, Camera]:
        """The pose of neck and head in a portrait, and the camera as the body sees it.

        Args:
            image: In [-1, 1].
            mask: Share of the person.
            camera: As a head at rest would see it, in the generator's world.

        Returns:
            The pose, radians; None where nothing tells it, or what tells it is beside itself.
        """
        if self.predictor is None:
            return None, camera
        pose, seen = self._predicted(self.predictor, image, mask, camera), camera
        for _ in range(ROUNDS - 1):
            body = self.posed(pose) if _is_possible(pose) else None
            if body is None:
                break
            seen = Camera(body.head_motion @ camera.cam2world, camera.intrinsics)
            pose = self._predicted(self.predictor, image, mask, seen)
        if not _is_possible(pose):
            return None, camera
        body = self.posed(pose)
        return pose, camera if body is None else Camera(body.head_motion @ camera.cam2world, camera.intrinsics)

    def posed(self, pose: Float[np.ndarray, "6"]) -> PosedHead | None:
        """The body in a pose; None without a body model."""
        if self.body is None:
            return None
        return PosedHead(self.body, pose, side=self.config.side, reach=self.config.deform_reach)

    def notes(self, pose: Float[np.ndarray, "6"] | None) -> list[str]:
        """What a report says of a head with this pose."""
        if self.predictor is None:
            return [
                "The generator's file holds no pose predictor (D_ema): the head was rendered and meshed at rest, "
                "looking straight ahead of its body."
            ]
        if pose is None:
            return [
                "The generator's pose predictor gave no pose that a neck can take: the head was rendered and meshed at "
                "rest, looking straight ahead of its body."
            ]
        neck, head = turns_deg(pose)
        turned = f"Neck and head turn by {neck:.0f} and {head:.0f} degrees as the generator's pose predictor sees them"
        if self.body is None:
            return [f"{turned}, but no body model is installed: the head was rendered and meshed at rest. {ADD_BODY}."]
        return [f"{turned}; the installed body model carried the head along."]

    @torch.no_grad()
    def _predicted(
        self, predictor: PosePredictor, image: Float[Tensor, "1 3 s s"], mask: Float[Tensor, "1 1 s s"], camera: Camera
    ) -> Float[np.ndarray, "6"]:
        weight = next(predictor.parameters())
        label = torch.from_numpy(label_of(camera)).to(weight)[None]
        side = predictor.config.image_resolution
        pictures = (_scaled(one.to(weight), side) for one in (image, mask))
        return predictor(*pictures, label)[0].double().cpu().numpy()


def turns_deg(pose: Float[np.ndarray, "6"]) -> tuple[float, float]:
    """By how much the neck turns, and the head on top of it, degrees."""
    neck, head = np.degrees(np.linalg.norm(pose.reshape(2, 3), axis=1))
    return float(neck), float(head)


def _is_possible(pose: Float[np.ndarray, "6"]) -> bool:
    return bool(np.isfinite(pose).all()) and max(turns_deg(pose)) <= MOST_DEG


def _scaled(image: Float[Tensor, "1 c s s"], side_px: int) -> Float[Tensor, "1 c t t"]:
    if image.shape[-1] == side_px:
        return image
    return functional.interpolate(image, (side_px, side_px), mode="bilinear", align_corners=False, antialias=True)
