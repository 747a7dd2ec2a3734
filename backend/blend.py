# SPDX-License-Identifier: Apache-2.0
"""Joining photos and generator colours on a surface without visible seams.

The coarse difference between a photo and the generator is spread over the whole surface (a membrane that does not
like to cross colour edges); the photo's fine detail is used where the photo can be trusted and fades with the trust.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu

from backend.texels import Texels

TINT_REACH = 0.12  # Radii of the mesh over which a photo's tint is averaged; about the size of an eye socket.
BLEND_REACH = 0.008  # The same for the blend's coarse part; about an edge of the mesh.
HOLD = 30.0  # Radii after which an unsupported tint fades to none.
WALL = 6.0  # A colour edge of full contrast holds a tint back like so many radii of plain surface.
DISAGREEMENT = 0.14  # Difference of colours, in [0, 1], from which a look or a place counts little.


@dataclass(frozen=True)
class Layer:
    """One look at the surface.

    Args:
        colors: sRGB in [0, 1], one per texel.
        trust: 0 to 1; 0 where nothing is seen.
    """

    colors: Float[np.ndarray, "n 3"]
    trust: Float[np.ndarray, "n"]


class Membrane:
    """Spreads values over a surface, less so across colour edges.

    Args:
        vertices: Copies at UV seams count as one.
        faces: Of those vertices.
        colors: The generator's colour at each vertex, sRGB in [0, 1].

    Attributes:
        index: The place of each vertex; copies share one.
        first: A vertex at each place.
        faces: In places.
        radius: Of the mesh, its unit.
        count: Of the places.
    """

    def __init__(
        self,
        vertices: Float[np.ndarray, "v 3"],
        faces: Int[np.ndarray, "f 3"],
        colors: Float[np.ndarray, "v 3"],
    ) -> None:
        places, self.first, self.index = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
        self.index = self.index.reshape(-1)
        self.faces = self.index[faces]
        self.radius = float(np.linalg.norm(np.ptp(places, axis=0)) / 2)
        self.count = len(places)
        self.stiffness, self.area = _stiffness(places / self.radius, self.faces, colors[self.first])

    def first_copy(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "v c"]:
        """Vertex values with each copy at a seam given the first copy's value."""
        return values[self.first[self.index]]

    def lowest_near(self, values: Float[np.ndarray, "w"]) -> Float[np.ndarray, "w"]:
        """The lowest value at each place and its neighbours."""
        lowest = values.copy()
        np.minimum.at(lowest, self.faces, values[self.faces].min(axis=1, keepdims=True))
        return lowest

    def spread(
        self, values: Float[np.ndarray, "w c"], weights: Float[np.ndarray, "w"], reach: float
    ) -> Float[np.ndarray, "w c"]:
        """Values of least bending energy close to the given ones.

        Args:
            values: One row per place, that is per welded vertex.
            weights: Trust in those values, 0 to 1.
            reach: Distance over which trusted values are averaged, radii of the mesh.

        Source:
            Screened Poisson equation with linear finite elements; Bhat et al. 2008, Fourier analysis of the 2D
            screened Poisson equation for gradient domain problems.
        """
        screen = self.area * (weights / reach**2 + 1 / HOLD**2)
        solver = splu(
            (self.stiffness + diags(screen)).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
        )
        return solver.solve((self.area * weights / reach**2)[:, None] * values)


def _stiffness(
    places: Float[np.ndarray, "w 3"], faces: Int[np.ndarray, "f 3"], colors: Float[np.ndarray, "w 3"]
) -> tuple[coo_matrix, Float[np.ndarray, "w"]]:
    """Cotangent Laplacian with conductances lowered at colour edges, and the vertices' areas."""
    count = len(places)
    corners = places[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.maximum(np.linalg.norm(cross, axis=1), 1e-12)
    area = np.bincount(faces.ravel(), np.repeat(double_area / 6, 3), minlength=count)
    rows, columns, values = [], [], []
    for corner in range(3):
        start, end = faces[:, (corner + 1) % 3], faces[:, (corner + 2) % 3]
        one, other = (
            corners[:, (corner + 1) % 3] - corners[:, corner],
            corners[:, (corner + 2) % 3] - corners[:, corner],
        )
        # Obtuse angles would give negative conductances, which let values overshoot.
        cotangent = np.clip(np.einsum("fa,fa->f", one, other) / double_area, 0.02, 20)
        length = np.maximum(np.linalg.norm(places[start] - places[end], axis=1), 1e-9)
        contrast = _contrast(colors[start] - colors[end])
        conductance = 0.5 * cotangent / (1 + WALL * contrast / length)
        rows += [start, end, start, end]
        columns += [end, start, start, end]
        values += [-conductance, -conductance, conductance, conductance]
    shape = (count, count)
    matrix = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    return matrix, np.maximum(area, 1e-9)


def blend_layers(
    membrane: Membrane, texels: Texels, generated: Float[np.ndarray, "n 3"], layers: list[Layer]
) -> Float[np.ndarray, "n 3"]:
    """Texel colours from the generator and looks at the surface.

    Args:
        membrane: Of the mesh that the texels lie on.
        texels: Where the colours belong.
        generated: The generator's colours, sRGB in [0, 1].
        layers: The most trusted first; the tints of the others are matched to it.
    """
    blend = _Blend(membrane, texels, generated)
    for layer in layers:
        blend.add(layer)
    return blend.finish()


class _Blend:
    """The running sum of layers over the generator's colours."""

    def __init__(self, membrane: Membrane, texels: Texels, generated: Float[np.ndarray, "n 3"]) -> None:
        self.membrane, self.texels, self.generated = membrane, texels, generated
        places = membrane.index[texels.corners]
        self.texels = Texels(texels.size_px, texels.index, places, texels.barycentric, texels.triangle)
        self.detail = np.zeros_like(generated)
        self.weight = np.zeros(len(generated), np.float32)
        self.first: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(self, layer: Layer) -> None:
        """Uses the layer where earlier ones see nothing."""
        difference = layer.colors - self.generated
        means, trust = self.texels.gather(difference, layer.trust, self.membrane.count)
        tint = self.membrane.spread(means, trust, TINT_REACH)
        usable = layer.trust
        if self.first is None:
            self.first = means, trust, tint
        else:
            change = self.first[2] - tint
            difference += self.texels.interpolate(change)
            usable = usable * self._agreement(means, trust, self.first[:2])
        share = usable * (1 - self.weight)
        self.detail += share[:, None] * difference
        self.weight += share

    def _agreement(
        self,
        means: Float[np.ndarray, "w 3"],
        trust: Float[np.ndarray, "w"],
        first: tuple[Float[np.ndarray, "w 3"], Float[np.ndarray, "w"]],
    ) -> Float[np.ndarray, "n"]:
        """How well a look agrees with the first one where both see the surface, carried on to where only one does.

        A difference in exposure is no disagreement.
        """
        both = np.minimum(trust, first[1])
        difference = means - first[0]
        difference -= both @ difference / max(both.sum(), 1e-9)
        spread = self.membrane.spread(_contrast(difference)[:, None], both, TINT_REACH)
        return _likeness(self.texels.interpolate(spread)[:, 0])

    def finish(self) -> Float[np.ndarray, "n 3"]:
        """The generator's colours with the coarse difference everywhere and the details where they are known."""
        known = np.divide(
            self.detail, self.weight[:, None], out=np.zeros_like(self.detail), where=self.weight[:, None] > 0
        )
        means, weight = self.texels.gather(known, self.weight, self.membrane.count)
        # Hair over generated skin, a collar, a highlight: what differs from its surroundings tells nothing about them.
        usual = self.membrane.spread(means, weight, TINT_REACH)
        firm = weight**3 * self.membrane.lowest_near(_likeness(_contrast(means - usual)))
        coarse = self.texels.interpolate(self.membrane.spread(means, firm, BLEND_REACH))
        return self.generated + self.detail + (1 - self.weight)[:, None] * coarse


def _contrast(difference: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Root mean square over the channels."""
    return np.linalg.norm(difference, axis=1) / np.sqrt(3)


def _likeness(contrast: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """1 for equal colours, near 0 for clearly different ones."""
    return np.exp(-((contrast / DISAGREEMENT) ** 4))
