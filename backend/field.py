# SPDX-License-Identifier: Apache-2.0
"""What meshing, texturing and morphing need from a generator."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Field(Protocol):
    """A head as density and colour in canonical space."""

    @property
    def side(self) -> float:
        """Edge of the axis-aligned cube around the origin that holds the head, canonical units."""
        ...

    @property
    def level(self) -> float:
        """The density at which the surface lies."""
        ...

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Density after activation, per canonical unit, not negative; high inside."""
        ...

    def color(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """sRGB colour in [0, 1]."""
        ...


@runtime_checkable
class SignedDistanceField(Field, Protocol):
    """A field whose density is made from a signed distance.

    The distance runs straight through the surface where the density bends, so meshing interpolates it instead.
    """

    def signed_distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Distance to the surface, canonical units, negative inside; exactly 0 where the density is ``level``."""
        ...
