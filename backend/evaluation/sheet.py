# SPDX-License-Identifier: Apache-2.0
"""Pictures of one item side by side, with what each column shows above it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

COLUMNS = ("photo", "0°", "-30°", "30°", "-60°", "60°", "behind")
CAPTION_PX = 22
PAPER, INK = (24, 24, 26), (230, 230, 230)


def sheet(rows: Sequence[Sequence[UInt8[np.ndarray, "s s 3"]]]) -> Image.Image:
    """A sheet of equal pictures, one column for each of ``COLUMNS``.

    Raises:
        ValueError: A row has another number of pictures.
    """
    if not rows or any(len(row) != len(COLUMNS) for row in rows):
        raise ValueError(f"each row of a sheet needs {len(COLUMNS)} pictures")
    side = len(rows[0][0])
    picture = Image.new("RGB", (len(COLUMNS) * side, CAPTION_PX + len(rows) * side), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=14)
    for column, caption in enumerate(COLUMNS):
        draw.text(((column + 0.5) * side, CAPTION_PX / 2), caption, fill=INK, font=font, anchor="mm")
        for number, row in enumerate(rows):
            picture.paste(Image.fromarray(row[column]), (column * side, CAPTION_PX + number * side))
    return picture
