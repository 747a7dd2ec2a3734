# SPDX-License-Identifier: Apache-2.0
"""One head in a published generator's latent space, and the sliders that move it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from backend.errors import SettingsError
from backend.head import Slider

TUNED = "tuned."  # Before the names of weights in a record.


@dataclass(frozen=True)
class PlaneCodes:
    """A head of a published generator.

    Args:
        ws: Style codes.
        metres_per_unit: Of the head's world, so that its eyes are as far apart as people's are.
        plane_offset: Added to the planes; None for nothing.
        tuned: Added to weights behind the planes, by name.
        pose: Of neck and head, radians; None for a head at rest.
    """

    ws: Float[np.ndarray, "num_ws w_dim"]
    metres_per_unit: float
    plane_offset: Float[np.ndarray, "3 cd r r"] | None = None
    tuned: Mapping[str, np.ndarray] = field(default_factory=dict)
    pose: Float[np.ndarray, "6"] | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """By name, as a record keeps them."""
        arrays = {"ws": self.ws, "metres_per_unit": np.array(self.metres_per_unit)}
        if self.plane_offset is not None:
            arrays["plane_offset"] = self.plane_offset
        if self.pose is not None:
            arrays["pose"] = self.pose
        return arrays | {f"{TUNED}{name}": change for name, change in self.tuned.items()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> "PlaneCodes":
        """The inverse of ``to_arrays``; other names are left alone.

        Raises:
            KeyError: An array is missing.
        """
        tuned = {name.removeprefix(TUNED): array for name, array in arrays.items() if name.startswith(TUNED)}
        scale, offset, pose = float(arrays["metres_per_unit"]), arrays.get("plane_offset"), arrays.get("pose")
        return PlaneCodes(arrays["ws"], scale, offset, tuned, pose)


@dataclass(frozen=True)
class PlaneDirection:
    """A slider and how far one unit of it moves the codes."""

    slider: Slider
    ws: Float[np.ndarray, "num_ws w_dim"]


def move(codes: PlaneCodes, directions: list[PlaneDirection], values: Mapping[str, float]) -> PlaneCodes:
    """The codes after sliders are moved.

    Raises:
        SettingsError: A name is no slider of this generator.
    """
    known = {direction.slider.name: direction for direction in directions}
    ws = codes.ws
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"There is no slider “{name}”; there are {', '.join(known)}.", code="unknown_slider")
        ws = ws + value * known[name].ws
    return replace(codes, ws=ws)
