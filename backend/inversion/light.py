# SPDX-License-Identifier: Apache-2.0
"""What the light and the camera's colours make of a person in several photos: a gain and an offset for each channel.

A head has one colour at each place. Where a photo was taken in other light than the main one, its pictures are
compared after the difference between the two photos is put onto them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from backend.inversion.view import Target

LARGEST_GAIN = 1.8
LEAST_SPREAD = 0.02


@dataclass(frozen=True)
class Light:
    """From colours in the main photo's light to those in another's.

    Args:
        gain: Of each channel.
        offset: Of each channel, sRGB in [0, 1].
    """

    gain: Float[Tensor, "3"]
    offset: Float[Tensor, "3"]

    def put_on(self, color: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colours in the other photo's light."""
        return color * self.gain + self.offset

    def taken_off(self, color: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """The inverse of ``put_on``."""
        return (color - self.offset) / self.gain


@torch.no_grad()
def lights(colors: Sequence[Float[Tensor, "_ 3"]], targets: Sequence[Target]) -> list[Light]:
    """The light of each photo; that of the first is none.

    Mean and spread of the head's colours in each photo are compared with those of its picture from the same place, so
    that it does not matter which part of the head a photo shows; what a picture misses in the main photo as well is
    no light.

    Args:
        colors: Of the head, at each photo's rays.
        targets: The photos.
    """
    none = Light(colors[0].new_ones(3), colors[0].new_zeros(3))
    if len(targets) == 1:
        return [none]
    main = _Moments.of(colors[0], targets[0])
    exposure = main.wanted_spread / main.shown_spread
    found = [none]
    for color, target in zip(colors[1:], targets[1:], strict=True):
        other = _Moments.of(color, target)
        gain = (other.wanted_spread / other.shown_spread / exposure).clamp(1 / LARGEST_GAIN, LARGEST_GAIN)
        # As the main photo would show this side of the head.
        expected = main.wanted + exposure * (other.shown - main.shown)
        found.append(Light(gain, other.wanted - gain * expected))
    return found


@dataclass(frozen=True)
class _Moments:
    """Mean and spread of a head's colours in a picture of it, and in a photo."""

    shown: Float[Tensor, "3"]
    shown_spread: Float[Tensor, "3"]
    wanted: Float[Tensor, "3"]
    wanted_spread: Float[Tensor, "3"]

    @classmethod
    def of(cls, color: Float[Tensor, "n 3"], target: Target) -> "_Moments":
        """Where the photo's matte shows the head."""
        weight = (target.mask * target.outline)[:, None]
        return cls(*_moments(color, weight), *_moments(target.color, weight))


def _moments(
    values: Float[Tensor, "n 3"], weight: Float[Tensor, "n 1"]
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    total = weight.sum().clamp(min=1)
    mean = (values * weight).sum(0) / total
    return mean, (((values - mean).square() * weight).sum(0) / total).sqrt().clamp(min=LEAST_SPREAD)
