# SPDX-License-Identifier: Apache-2.0
"""How far a finished head can be relied on, told from what the photo and the fit give away.

The error of a head's surface is expected from four measures by a linear rule on its logarithm, whose few numbers
``scripts/calibrate_confidence.py`` finds on synthetic heads with known truth. Colours have no say.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from backend.alignment import Portrait
from backend.camera import Camera, rays
from backend.face_mesh_points import CHIN
from backend.mesh import Mesh
from backend.raycast import Caster

OUTLINE_PX = 96
MOST_TURNED_DEG = 60.0
SLIGHT = 0.06  # A measure that makes the error so much larger (in its logarithm) than usual is named.


@dataclass(frozen=True)
class Evidence:
    """What gives a head's error away; grows with it.

    Args:
        outline: Share of head and matte together, above the chin, that only one of them covers.
        landmark_mm: Median distance between fitted and detected landmarks, millimetres.
        turned_deg: How far the face looks past the camera, to either side.
        doubt: Of the face detector, 0 to 1.
    """

    outline: float
    landmark_mm: float
    turned_deg: float
    doubt: float

    @property
    def measures(self) -> dict[str, float]:
        """As the rule takes them: about 0 for a clear frontal photo."""
        return {
            "outline": self.outline - 0.08,
            "landmarks": math.log(max(self.landmark_mm, 0.1) / 0.7),
            "turned": min(self.turned_deg, MOST_TURNED_DEG) / MOST_TURNED_DEG,
            "doubt": self.doubt - 0.08,
        }


# By measure: what one unit of it adds to the logarithm of the expected error, in errors of a clear frontal photo.
# From scripts/calibrate_confidence.py.
SLOPES: dict[str, float] = {"outline": 1.41, "landmarks": 0.09, "turned": 0.13, "doubt": 2.36}
TWICE = math.log(2.0)  # Confidence is a half where twice the error of a clear frontal photo is expected.
STEEPNESS = 3.0
REASONS = {
    "outline": "hair or outline differ from the photo",
    "landmarks": "the face's features do not fit well",
    "turned": "the face is seen from the side",
    "doubt": "the face is hard to make out",
}
ALWAYS = "what the photo does not show, as the hair behind, is a guess"
ALWAYS_OF_SEVERAL = "what no photo shows is a guess"


def expected_log_error(evidence: Evidence, slopes: Mapping[str, float] = SLOPES) -> float:
    """Logarithm of the expected error over that of a clear frontal photo."""
    return sum(slopes[name] * value for name, value in evidence.measures.items())


def confidence(evidence: Evidence) -> float:
    """From 1, as sure as one can be, down to 0; 0.5 where twice the error of a clear frontal photo is expected."""
    return 1 / (1 + math.exp(STEEPNESS * (expected_log_error(evidence) - TWICE)))


def clearest(evidences: Sequence[Evidence]) -> Evidence:
    """The evidence of the photo by which the head's error is least; what others show only adds to it."""
    return min(evidences, key=expected_log_error)


def confidence_sentence(evidence: Evidence, *, photos: int = 1) -> str:
    """The confidence with the reasons for doubt, in plain words.

    Args:
        evidence: Of the clearest photo.
        photos: That the head was made from.
    """
    parts = {name: SLOPES[name] * value for name, value in evidence.measures.items()}
    named = sorted((name for name, part in parts.items() if part > SLIGHT), key=lambda name: -parts[name])
    judged = f", by the clearest of {photos} photos" if photos > 1 else ""
    reasons = "; ".join([*(REASONS[name] for name in named), ALWAYS if photos == 1 else ALWAYS_OF_SEVERAL])
    return f"Confidence in the shape {confidence(evidence):.2f}{judged}: {reasons}."


def gather_evidence(
    portrait: Portrait, mask: Float[Tensor, "1 1 s s"], mesh: Mesh, camera: Camera, *, landmark_mm: float, score: float
) -> Evidence:
    """What a photo and the head made of it give away.

    Args:
        portrait: With a face.
        mask: The head's matte.
        mesh: The head as the photo shows it, in a world where it looks along +z.
        camera: Of the portrait.
        landmark_mm: Of the fit.
        score: The face detector's certainty, 0 to 1.
    """
    x, _, z = camera.position
    turned_deg = abs(math.degrees(math.atan2(x, z)))
    return Evidence(outline_gap(portrait, mask, mesh, camera), landmark_mm, turned_deg, 1 - score)


def outline_gap(portrait: Portrait, mask: Float[Tensor, "1 1 s s"], mesh: Mesh, camera: Camera) -> float:
    """Share of head and matte together that only one of them covers, above the chin and inside the photo."""
    small = functional.interpolate(torch.cat([mask, portrait.coverage], 1), size=(OUTLINE_PX, OUTLINE_PX), mode="area")
    matte, known = small[0, 0].numpy() > 0.5, small[0, 1].numpy() > 0.99
    known[round(portrait.landmarks[CHIN, 1] / portrait.size_px * OUTLINE_PX) :] = False
    made = _silhouette(mesh, camera)
    together = (made | matte) & known
    return float(((made ^ matte) & known).sum() / max(1, together.sum()))


def _silhouette(mesh: Mesh, camera: Camera) -> Bool[np.ndarray, "n n"]:
    origin, directions = rays(camera, OUTLINE_PX)
    caster = Caster(mesh.vertices.astype(np.float64), mesh.faces)
    triangle, _, _ = caster.first_hit(origin[None], directions.reshape(-1, 3))
    return (triangle >= 0).reshape(OUTLINE_PX, OUTLINE_PX)
