# SPDX-License-Identifier: Apache-2.0
"""What can be measured on a generated head without anybody's labels: lengths of the face, colours, the outline.

All is measured on the picture that the generator makes from the front, with its depth and opacity.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from backend import face_mesh_points as points
from backend.generator.plane_generator import Images
from backend.inversion.cameras import cameras_of
from backend.inversion.plane_model import PlaneModel, front_camera
from backend.landmarks import Face, detect_faces
from backend.raycast import sample_bilinear

Kind = Literal["geometry", "colour", "nuisance"]
LUMA = np.array([0.299, 0.587, 0.114])
SOLID = 0.5  # Opacity from which a pixel is head.
RELIEF = (0.05, 0.95)  # Quantiles of the distance between which a head's relief lies.
HAIR_ABOVE = 0.12  # Of the face's height, above the forehead's top.
FIRST_HEADS = 8
ASIDE = (0.25, 0.75)  # Image rows between which the outline's width is measured.


@dataclass(frozen=True)
class Attribute:
    """Something that can be measured.

    Args:
        name: As a slider of it is called.
        kind: Where in the network it is decided: geometry early, colour late. A nuisance gets no slider.
        needs_face: Whether the picture has to show a face that the detector finds.
    """

    name: str
    kind: Kind
    needs_face: bool = True


# Landmarks at both ends, and the image axis along which their means are apart.
LENGTHS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "Face width": ((454,), (234,), 0),
    "Jaw width": ((397,), (172,), 0),
    "Face length": ((points.CHIN,), (points.FOREHEAD_TOP,), 1),
    "Nose width": ((358,), (129,), 0),
    "Nose length": ((2,), (168,), 1),
    "Eye distance": (
        (points.LEFT_EYE_INNER, points.LEFT_EYE_OUTER),
        (points.RIGHT_EYE_INNER, points.RIGHT_EYE_OUTER),
        0,
    ),
    "Eye opening": ((145, 374), (159, 386), 1),
    "Brow height": ((159, 386), (105, 334), 1),
    "Mouth width": ((points.MOUTH_LEFT,), (points.MOUTH_RIGHT,), 0),
    "Mouth opening": ((14,), (13,), 1),
    "Smile": ((13, 14), (points.MOUTH_LEFT, points.MOUTH_RIGHT), 1),
}
CHEEKS = (50, 280)
ATTRIBUTES = (
    *(Attribute(name, "geometry") for name in LENGTHS),
    Attribute("Skin lightness", "colour"),
    Attribute("Skin warmth", "colour"),
    Attribute("Hair lightness", "colour"),
    Attribute("Head turn", "nuisance"),
    Attribute("Outline width", "geometry", needs_face=False),
    Attribute("Outline height", "geometry", needs_face=False),
    Attribute("Relief", "geometry", needs_face=False),
    Attribute("Brightness", "colour", needs_face=False),
    Attribute("Warmth", "colour", needs_face=False),
    Attribute("Lopsidedness", "nuisance", needs_face=False),
)


class HeadMeter:
    """Measures heads of a generator; one whose first heads show no face is not asked for faces any more.

    Args:
        model: Makes their pictures.
    """

    def __init__(self, model: PlaneModel) -> None:
        self._model, self._faces, self._heads = model, 0, 0
        self._cameras = cameras_of(front_camera(model.network)).to(next(model.network.parameters()).device)

    @torch.no_grad()
    def __call__(self, ws: Float[Tensor, "1 num_ws w_dim"]) -> Float[np.ndarray, "a"]:
        """Each of ``ATTRIBUTES``; NaN where the picture shows no face that it needs.

        Raises:
            ModelError: The photo networks are missing.
        """
        images = self._model.head(ws).render(self._cameras, size_px=self._model.size_px)
        pixels = ((images.image[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        # A picture without a face is searched for minutes of a fit, at every size and turn.
        faces = detect_faces(pixels) if self._faces or self._heads < FIRST_HEADS else []
        self._heads, self._faces = self._heads + 1, self._faces + len(faces)
        of_face = _face_measures(pixels, faces[0]) if faces else {}
        found = of_face | _outline_measures(pixels, images)
        return np.array([found.get(attribute.name, np.nan) for attribute in ATTRIBUTES])


def _face_measures(pixels: UInt8[np.ndarray, "s s 3"], face: Face) -> dict[str, float]:
    """Lengths in image widths; lightness and warmth in [0, 1]; the turn in degrees."""
    places = face.landmarks / len(pixels)
    measures = {
        name: float(places[list(plus), axis].mean() - places[list(minus), axis].mean())
        for name, (plus, minus, axis) in LENGTHS.items()
    }
    top, chin = places[points.FOREHEAD_TOP], places[points.CHIN]
    above = top + HAIR_ABOVE * (top - chin)
    skin, hair = _colors(pixels, places[list(CHEEKS)]), _colors(pixels, above[None])
    return measures | {
        "Skin lightness": float(skin @ LUMA),
        "Skin warmth": float(skin[0] - skin[2]),
        "Hair lightness": float(hair @ LUMA),
        "Head turn": face.yaw_deg,
    }


def _outline_measures(pixels: UInt8[np.ndarray, "s s 3"], images: Images) -> dict[str, float]:
    """Of the picture as it is, without knowing what it shows; lengths in image widths."""
    opacity, depth = (image[0, 0].cpu().double().numpy() for image in (images.opacity, images.depth))
    is_head = opacity > SOLID
    colors = pixels.reshape(-1, 3).mean(0) / 255
    measures = {
        "Brightness": float(colors @ LUMA),
        "Warmth": float(colors[0] - colors[2]),
        "Lopsidedness": float((pixels.mean((0, 2)) / 255 * np.linspace(-1, 1, len(pixels))).mean()),
    }
    if not is_head.any():
        return measures
    low, high = (int(share * len(opacity)) for share in ASIDE)
    near, far = np.quantile(depth[is_head], RELIEF)
    shapes = {
        "Outline width": float(opacity[low:high].mean()),
        "Outline height": float(opacity.mean(1).sum() / len(opacity)),
        "Relief": float(far - near),
    }
    return measures | shapes


def _colors(pixels: UInt8[np.ndarray, "s s 3"], places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "3"]:
    """Mean colour around image places, in [0, 1]; beyond the picture that of its border."""
    side = len(pixels)
    steps = np.linspace(-0.02, 0.02, 5)
    around = (places[:, None, None] + np.stack(np.meshgrid(steps, steps), axis=-1)).reshape(-1, 2)
    seen = sample_bilinear(pixels.astype(np.float64), around[:, 0] * side, around[:, 1] * side)
    return seen.mean(0) / 255
