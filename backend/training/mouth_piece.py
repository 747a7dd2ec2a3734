# SPDX-License-Identifier: Apache-2.0
"""Teeth, gums and tongue in portraits."""

import numpy as np
from jaxtyping import Float

from backend.training.light import linear_from_srgb
from backend.training.mouth import GUM as MOUTH_GUM
from backend.training.mouth import TOOTH, Mouth
from backend.training.pieces import GUM, TEETH, TONGUE
from backend.training.subject import SOLID, Hits, Surface

SHINE = 0.45


class MouthPiece:
    """One person's mouth.

    Args:
        mouth: Everybody's.
        vertices: Where its vertices are, world metres.
        canonical: Where they are on the mean head, canonical metres.
    """

    kind, bake_spacing = SOLID, 0.004

    def __init__(self, mouth: Mouth, vertices: Float[np.ndarray, "v 3"], canonical: Float[np.ndarray, "v 3"]) -> None:
        self.vertices, self.canonical, self.faces = vertices, canonical, mouth.faces
        self.part = np.where(mouth.kind == TOOTH, TEETH, np.where(mouth.kind == MOUTH_GUM, GUM, TONGUE))
        self._albedo = linear_from_srgb(mouth.colors).astype(np.float32)

    def surface(self, hits: Hits) -> Surface:
        """Moist, in the colour of what was hit."""
        return Surface(self._albedo[hits.triangle], np.full(len(hits.triangle), SHINE, np.float32))
