# SPDX-License-Identifier: Apache-2.0
"""What a head keeps of its photo, so that it can be textured again without it."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from backend.alignment import Portrait
from backend.camera import Camera
from backend.errors import RecordError
from backend.photo import Photo
from backend.reprojection import PhotoView
from backend.resample import sample_square

LARGEST_CROP_PX = 1536
MASK_PX = 256
JPEG_QUALITY = 92


@dataclass(frozen=True)
class KeptPortrait:
    """A portrait as the record keeps it.

    Args:
        jpeg: The square crop, as sharp as the photo or ``LARGEST_CROP_PX``.
        mask: The head's matte, 0 to 255.
        camera: Of the crop.
        weight: What it counts beside the person's other photos, above 0; the best of them has 1.
    """

    jpeg: bytes
    mask: UInt8[np.ndarray, "m m"]
    camera: Camera
    weight: float = 1.0

    def view(self) -> PhotoView:
        """For texturing."""
        pixels = self.pixels()
        mask = self.mask.astype(np.float64) / 255
        return PhotoView(pixels, np.eye(3), pixels.shape[0], self.camera, mask, weight=self.weight)

    def pixels(self) -> UInt8[np.ndarray, "s s 3"]:
        """The crop, sRGB.

        Raises:
            RecordError: The file is damaged.
        """
        try:
            with Image.open(io.BytesIO(self.jpeg)) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise RecordError(
                "The portrait in the head's record is damaged. Create the head again from its photo.",
                code="record_damaged",
            ) from error


def keep_portrait(photo: Photo, portrait: Portrait, mask: Float[Tensor, "1 1 s s"], camera: Camera) -> KeptPortrait:
    """Crop the photo once more, at its own sharpness."""
    to_photo = np.linalg.inv(portrait.photo_to_portrait)
    photo_px = float(np.hypot(*to_photo[:2, 0])) * portrait.size_px
    crop_px = int(np.clip(round(photo_px), portrait.size_px, LARGEST_CROP_PX))
    scale = portrait.size_px / crop_px
    crop = sample_square(photo.pixels, to_photo @ np.diag([scale, scale, 1.0]), crop_px, extend=True)
    pixels = ((crop[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    small = functional.interpolate(mask, size=(MASK_PX, MASK_PX), mode="area")[0, 0]
    return KeptPortrait(jpeg.getvalue(), (small.clamp(0, 1) * 255).round().byte().numpy(), camera)
