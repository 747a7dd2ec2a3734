# SPDX-License-Identifier: Apache-2.0
"""Named latent directions: what a slider does to a head's codes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from backend.errors import SettingsError
from backend.head import Slider
from backend.skeleton import POSE_SIZE


@dataclass(frozen=True)
class Codes:
    """One head in the starter generator's latent space.

    Args:
        ws: Style codes: appearance, hair, clothes.
        shape: Shape codes, standard deviations.
        expression: Expression codes by ``Template.expression_names``, 0 at rest.
        plane_offset: What refinement added to the planes; None for nothing.
        pose: Of neck and head, radians; see ``skeleton``.
        tuned: What pivotal tuning added to weights behind the planes, by name; none else.
        color_offset: What a photo's detail added to the planes for colours alone; None for nothing.
    """

    ws: Float[np.ndarray, "num_ws w_dim"]
    shape: Float[np.ndarray, "k"]
    expression: Float[np.ndarray, "e"]
    plane_offset: Float[np.ndarray, "3 c r r"] | None = None
    pose: Float[np.ndarray, "6"] = field(default_factory=lambda: np.zeros(POSE_SIZE))
    tuned: Mapping[str, np.ndarray] = field(default_factory=dict)
    color_offset: Float[np.ndarray, "3 c r r"] | None = None


@dataclass(frozen=True)
class Direction:
    """A slider and how far one unit of it moves each code.

    Args:
        slider: Name and range.
        w: Of every row of ``ws``.
        shape: Standard deviations.
        expression: Values.
        pose: Radians.
        recolors: ``w`` means colours here: the surface is not to move.
    """

    slider: Slider
    w: Float[np.ndarray, "w_dim"]
    shape: Float[np.ndarray, "k"]
    expression: Float[np.ndarray, "e"]
    pose: Float[np.ndarray, "6"] = field(default_factory=lambda: np.zeros(POSE_SIZE))
    recolors: bool = False


def move(codes: Codes, directions: list[Direction], values: Mapping[str, float]) -> Codes:
    """The codes after sliders are moved.

    Args:
        codes: Where the head stands.
        directions: All that the generator has.
        values: Slider name to value; values beyond a slider's range are taken as they are.

    Raises:
        SettingsError: A name is no slider of this generator.
    """
    known = {direction.slider.name: direction for direction in directions}
    ws, shape, expression, pose = codes.ws, codes.shape, codes.expression, codes.pose
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"There is no slider “{name}”; there are {', '.join(known)}.", code="unknown_slider")
        direction = known[name]
        ws = ws + value * direction.w
        shape = shape + value * direction.shape
        expression = expression + value * direction.expression
        pose = pose + value * direction.pose
    return replace(codes, ws=ws, shape=shape, expression=expression, pose=pose)
