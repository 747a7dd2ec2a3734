# SPDX-License-Identifier: Apache-2.0
"""Places on the rest mesh's skin, and the smooth fields over them that layers of paint are made of.

The fields depend on the place alone, not on the person, so one ``SkinPoints`` that is used for many people computes
each of them once.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from backend.training.noise import layered_noise, value_noise
from backend.training.paint import Curve, smooth_step, spot, stroke_distance

Field = TypeVar("Field")
Frequency = float | tuple[float, float, float]


class SkinPoints:
    """Points on the rest mesh with what most layers of paint ask about them.

    Args:
        points_base: Signed coordinates, decimetres.
        masks: At the same points, as from ``masks.masks_at_uv``.
    """

    def __init__(self, points_base: Float[np.ndarray, "n 3"], masks: dict[str, Float[np.ndarray, "n"]]) -> None:
        self.points = points_base.astype(np.float32)
        self.mirrored = np.concatenate([np.abs(self.points[:, :1]), self.points[:, 1:]], axis=1)
        self.masks = {name: mask.astype(np.float32) for name, mask in masks.items()}
        # 1 on the side of the head that a camera in front sees, 0 behind.
        self.front: Float[np.ndarray, "n"] = smooth_step(self.points[:, 2], 0.55, 0.9)
        self._fields: dict[tuple[object, ...], object] = {}

    def __len__(self) -> int:
        return len(self.points)

    @property
    def x(self) -> Float[np.ndarray, "n"]:
        """Distance from the middle plane."""
        return self.mirrored[:, 0]

    @property
    def y(self) -> Float[np.ndarray, "n"]:
        """Height."""
        return self.mirrored[:, 1]

    @property
    def z(self) -> Float[np.ndarray, "n"]:
        """Forward."""
        return self.mirrored[:, 2]

    def spot(
        self, centre: tuple[float, float, float], radius: float | tuple[float, float, float]
    ) -> Float[np.ndarray, "n"]:
        """``paint.spot`` on both sides of the head."""
        return self._once(("spot", centre, radius), lambda: spot(self.mirrored, centre, radius))

    def noise(self, frequency: Frequency, seed: int, *, mirrored: bool = False) -> Float[np.ndarray, "n"]:
        """``noise.value_noise`` of so many features per decimetre."""
        return self._once(
            ("noise", frequency, seed, mirrored), lambda: value_noise(self._scaled(frequency, mirrored), seed)
        )

    def layers(self, frequency: Frequency, layers: int, *, seed: int, mirrored: bool = False) -> Float[np.ndarray, "n"]:
        """``noise.layered_noise`` of so many features per decimetre in the first layer."""
        return self._once(
            ("layers", frequency, layers, seed, mirrored),
            lambda: layered_noise(self._scaled(frequency, mirrored), layers, seed),
        )

    def stroke(self, curve: Curve, waver: float = 0.0) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """``paint.stroke_distance`` to a curve seen from the front, which ``waver`` decimetres make less regular."""
        return self._once(("stroke", tuple(curve), waver), lambda: self._stroke(curve, waver))

    def _stroke(self, curve: Curve, waver: float) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        drawn = self.mirrored[:, :2].copy()
        if waver:
            drawn[:, 1] += waver * self.noise(14.0, 51, mirrored=True)
        return stroke_distance(drawn, curve)

    def _scaled(self, frequency: Frequency, mirrored: bool) -> Float[np.ndarray, "n 3"]:
        return (self.mirrored if mirrored else self.points) * np.array(frequency, np.float32)

    def _once(self, key: tuple[object, ...], make: Callable[[], Field]) -> Field:
        if key not in self._fields:
            self._fields[key] = make()
        found: Field = self._fields[key]  # type: ignore[assignment]
        return found
