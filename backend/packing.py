# SPDX-License-Identifier: Apache-2.0
"""Placing rectangles in a strip."""

import numpy as np
from jaxtyping import Float


def pack_strip(
    sizes: Float[np.ndarray, "n 2"], *, width: float, gap: float
) -> tuple[Float[np.ndarray, "n 2"], float] | None:
    """Place rectangles on shelves, tall ones first, each on the first shelf that has room.

    Args:
        sizes: Widths and heights.
        width: Of the strip.
        gap: Free space between rectangles.

    Returns:
        Where the rectangles' least corners lie and the height they need; None when one is wider than the strip.

    Source:
        First-fit decreasing height: Coffman et al. 1980, Performance bounds for level-oriented packing.
    """
    if len(sizes) and sizes[:, 0].max() > width:
        return None
    places = np.zeros((len(sizes), 2))
    shelves: list[list[float]] = []  # Per shelf: used width, offset from the strip's start.
    height = 0.0
    for index in np.argsort(-sizes[:, 1], kind="stable"):
        shelf = next((shelf for shelf in shelves if shelf[0] + sizes[index, 0] <= width), None)
        if shelf is None:
            shelf = [0.0, height + gap if shelves else 0.0]
            shelves.append(shelf)
            height = shelf[1] + float(sizes[index, 1])
        places[index] = shelf
        shelf[0] += float(sizes[index, 0]) + gap
    return places, height
