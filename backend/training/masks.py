# SPDX-License-Identifier: Apache-2.0
"""Where lips, lids, face, ears and the inside of the mouth lie in the MakeHuman base mesh's texture."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from backend.errors import ModelError
from backend.raycast import sample_bilinear

MASKS = ("lips", "eyelids", "face", "ears", "inside-mouth")
# The files are larger, but hold nothing finer; shrinking softens the lips' edge as in a photo.
SIDE_PX = 1024


def masks_at_uv(textures: Path, uv: Float[np.ndarray, "n 2"]) -> dict[str, Float[np.ndarray, "n"]]:
    """Values in [0, 1] of the masks ``MASKS`` at texture positions.

    Args:
        textures: The folder of ``mpfb_lips.jpg`` and the others.
        uv: Of the base mesh, v up.

    Raises:
        ModelError: A mask is missing or damaged.
    """
    x, y = uv[:, 0] * SIDE_PX, (1 - uv[:, 1]) * SIDE_PX
    return {name: sample_bilinear(_read_mask(textures / f"mpfb_{name}.jpg"), x, y)[:, 0] for name in MASKS}


@lru_cache(maxsize=len(MASKS))
def _read_mask(path: Path) -> Float[np.ndarray, "s s 1"]:
    try:
        with Image.open(path) as image:
            grey = image.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    except OSError as error:
        raise ModelError(f"{path} cannot be read. Fetch the MakeHuman assets again.") from error
    return np.asarray(grey, dtype=np.float32)[:, :, None] / np.float32(255)
