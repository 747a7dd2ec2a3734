# SPDX-License-Identifier: Apache-2.0
"""The photo's expression as a slider of a neutral head.

Source:
    Wu et al. 2023, 3DPortraitGAN, arXiv:2307.14770: portraits in a canonical space, the body's state apart from it.
"""

import numpy as np

from backend.head import PHOTO_EXPRESSION, MorphTarget, Slider
from backend.mesh import Mesh

GROUP = "Expression"


def photo_expression(neutral: Mesh, shown: Mesh, *, start: float) -> MorphTarget:
    """The slider that leads from the neutral head, at 0, to the head with the photo's expression, at 1.

    Args:
        neutral: At rest.
        shown: The same vertices with the photo's expression.
        start: Where the slider stands when the head is opened.
    """
    offsets = (shown.vertices.astype(np.float64) - neutral.vertices).astype(np.float32)
    return MorphTarget(Slider(PHOTO_EXPRESSION, GROUP, 0.0, 1.0), offsets, start)


def first_of_its_group(target: MorphTarget, others: list[MorphTarget]) -> list[MorphTarget]:
    """All targets, this one before those of its group."""
    is_before = [other.slider.group != target.slider.group for other in others]
    place = is_before.index(False) if False in is_before else len(others)
    return [*others[:place], target, *others[place:]]


def expression_note(start: float) -> str:
    """What the report says of it."""
    state = "at rest" if start == 0 else "as in the photo" if start == 1 else f"at {start:g} of the photo's expression"
    return f"The face is {state}: the slider “{PHOTO_EXPRESSION}” leads from 0, at rest, to 1, as in the photo."
