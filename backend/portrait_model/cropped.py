# SPDX-License-Identifier: Apache-2.0
"""Generators of something else than human faces: EG3D's cats and cars. Their pictures come cropped as they expect.

No face is looked for, so that nothing that needs one takes part: no landmarks, no person's outline, no real size from
the eyes, no likeness. The camera is searched, and the sliders are the strongest directions of the weights.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from backend.alignment import Portrait
from backend.camera import Camera
from backend.config import TextureConfig
from backend.errors import PhotoError
from backend.generator.plane_generator import PlaneGenerator
from backend.inversion.cameras import cameras_of
from backend.inversion.method import PosedPortrait, Start
from backend.inversion.plane_model import front_camera
from backend.photo import Photo
from backend.portrait_model.camera_search import search_camera
from backend.portrait_model.contract import PORTRAIT_PX, Fit, PersonPhoto
from backend.portrait_model.placement import SUBJECT_PLACEMENTS
from backend.portrait_model.plane_codes import PlaneCodes
from backend.portrait_model.published import PublishedModel
from backend.resample import sample_square
from backend.template import Template

NEARLY_SQUARE = 1.02  # Longer side over shorter one.
WHITE = 0.94  # Share of full light from which a pixel is background, in pictures on white.
WHITE_BORDER = 0.9  # Share of the picture's border that has to be.
WHAT = {
    "cat": "the cat's face looking at you, in the middle, its ears just inside",
    "car": "the whole car in the middle, on white",
}
TURNS_DEG: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cat": ((0.0, 20.0, -20.0, 40.0, -40.0), (0.0, 15.0, -15.0)),
    "car": (tuple(30.0 * number for number in range(12)), (15.0, 35.0)),
}


class CroppedModel(PublishedModel):
    """A generator of other things than faces.

    Args:
        generator: On the device where it computes.
        identity: For the record.
        template: As for any published generator; never looked at.
        subject: One of `catalogue.SUBJECTS`, but no face.
    """

    def __init__(
        self, generator: PlaneGenerator, identity: dict[str, str], template: Template, *, subject: str
    ) -> None:
        super().__init__(generator, identity, template)
        self.subject = subject
        self.placement = SUBJECT_PLACEMENTS[subject]
        self.surface = self.placement.surface
        self.texture = TextureConfig(symmetric_above=self.placement.symmetric_above)

    def crop(self, photo: Photo) -> tuple[Portrait, Float[Tensor, "1 1 s s"]]:
        """The picture as it is, and the share of the subject in each pixel.

        Raises:
            PhotoError: It is not square, or not on white where the generator knows nothing else.
        """
        height, width = photo.pixels.shape[:2]
        if max(height, width) > NEARLY_SQUARE * min(height, width):
            raise PhotoError(
                f"{photo.name} is {width} x {height} pixels, and this model takes pictures as they are cropped. Crop "
                f"it to a square with {WHAT[self.subject]}.",
                code="photo_not_square",
            )
        side = min(height, width)
        to_photo = np.array([[1.0, 0, (width - side) / 2], [0, 1, (height - side) / 2], [0, 0, 1]])
        to_photo = to_photo @ np.diag([side / PORTRAIT_PX, side / PORTRAIT_PX, 1.0])
        image = sample_square(photo.pixels, to_photo, PORTRAIT_PX, extend=True)
        whole = torch.ones_like(image[:, :1])
        portrait = Portrait(image, np.linalg.inv(to_photo), np.zeros((0, 2)), np.zeros(0), whole)
        is_on_white = self.generator.config.render.white_back
        return portrait, self._matte(photo, image) if is_on_white else whole

    def fit(self, photos: Sequence[PersonPhoto]) -> Fit[PlaneCodes]:
        """The camera and a first code, searched together from the generator's frontal camera on.

        Raises:
            PhotoError: There are several photos; without a face their codes would not be the same subject's.
        """
        if len(photos) > 1:
            raise PhotoError(
                f"This model makes {self.subject}s, and those from one picture only. Leave out all photos but one.",
                code="one_photo_only",
            )
        portrait, mask = photos[0].portrait, photos[0].mask
        front = cameras_of(front_camera(self.generator))
        picture = PosedPortrait(portrait.image, mask, portrait.coverage, front).to(self._device)
        yaws, pitches = TURNS_DEG[self.subject]
        found = search_camera(
            self.plane_model, picture, self.generator.config.camera, yaws_deg=yaws, pitches_deg=pitches
        )
        pose, lens = (one[0].double().cpu().numpy() for one in (found.cameras.cam2world, found.cameras.intrinsics))
        codes = PlaneCodes(found.ws[0].cpu().numpy(), self.placement.metres_per_unit)
        scores = {"yaw_deg": round(found.yaw_deg, 2), "pitch_deg": round(found.pitch_deg, 2)}
        return Fit([self._from_generator(Camera(pose, lens))], [codes], scores)

    def notes(self, _: PlaneCodes) -> list[str]:
        """That no face took part."""
        return [
            f"This model makes {self.subject}s: the picture was taken as it is cropped, without face detection, "
            "landmarks, outline of a person or likeness. Its camera was searched from the frontal one on, its size is "
            "a usual one, and its sliders are the strongest directions of the weights."
        ]

    def _start(self, codes: PlaneCodes) -> Start:
        return Start(self._tensor(codes.ws)[None])

    def _measured(self, codes: PlaneCodes) -> PlaneCodes:
        return replace(codes, metres_per_unit=self.placement.metres_per_unit)

    def _matte(self, photo: Photo, image: Float[Tensor, "1 3 s s"]) -> Float[Tensor, "1 1 s s"]:
        """All that is not the white around the subject; white within it belongs to it."""
        is_white = ((image[0] + 1) / 2).amin(0).numpy() > WHITE
        border = np.concatenate([is_white[0], is_white[-1], is_white[:, 0], is_white[:, -1]])
        if border.mean() < WHITE_BORDER:
            raise PhotoError(
                f"{photo.name} is not on white, and this model has seen nothing else. Cut it out: a square with "
                f"{WHAT[self.subject]}.",
                code="photo_background",
            )
        subject = ndimage.binary_fill_holes(~is_white)
        return torch.from_numpy(subject)[None, None].float()
