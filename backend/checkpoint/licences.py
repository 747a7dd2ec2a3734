# SPDX-License-Identifier: Apache-2.0
"""Under what terms the published weights come, to be shown and accepted before they are added.

Protome brings none of these weights. The facts are those that the networks' repositories state (EG3D.md section 9);
the texts are ours, and what counts is the licence that came with the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CommercialUse = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Licence:
    """Terms of a model.

    Args:
        name: Short.
        commercial_use: Whether the terms allow it.
        text: What a person has to accept.
    """

    name: str
    commercial_use: CommercialUse
    text: str


_OWN_DUTY = (
    "Protome neither brings nor checks these weights: whether you may use them, and what you may do with the heads "
    "made with them, is between you and their owners. What counts is the licence that came with the file; this is a "
    "summary."
)

_EG3D = Licence(
    "NVIDIA Source Code License for EG3D",
    "no",
    "EG3D by NVIDIA comes under the NVIDIA Source Code License for EG3D (LICENSE.txt in the repository NVlabs/eg3d): "
    "the work and what derives from it may be used non-commercially only, which there means for research or "
    f"evaluation.\n\n{_OWN_DUTY}",
)
_PANOHEAD = Licence(
    "CC BY-NC-SA 4.0 and NVIDIA Source Code License for EG3D",
    "no",
    "PanoHead's licence file (LICENSES/LICENSE.md in the repository SizheAn/PanoHead) is Creative Commons "
    "Attribution-NonCommercial-ShareAlike 4.0; its code derives from NVIDIA's EG3D, whose licence allows "
    f"non-commercial use only.\n\n{_OWN_DUTY}",
)
_PORTRAIT3D = Licence(
    "no licence stated; NVIDIA's and SMPL's terms apply",
    "no",
    "3DPortraitGAN (oneThousand1000/3DPortraitGAN) states no licence for its weights. Its sources carry NVIDIA's "
    "proprietary notice, and its checkpoints were trained with the SMPL body model and hold arrays derived from it, "
    "which Protome leaves out; SMPL's licence forbids commercial use without a licence of its own.\n\n"
    f"{_OWN_DUTY}",
)
_TRIPLANENET = Licence(
    "MIT for TriPlaneNet; NVIDIA Source Code License for EG3D for its generator",
    "no",
    "TriPlaneNet's own code is under the MIT licence (anantarb/triplanenet). Its checkpoints contain the weights of "
    "NVIDIA's EG3D generator, under the NVIDIA Source Code License for EG3D: non-commercial use only.\n\n"
    f"{_OWN_DUTY}",
)
_ARCFACE = Licence(
    "unknown",
    "unknown",
    "Weights of ArcFace's face recognition network come from many places and were trained on collections of photos "
    "that are mostly for research only; their terms are those of the place that this file is from.\n\n"
    f"{_OWN_DUTY}",
)
_BODY = Licence(
    "SMPL Body Model License",
    "no",
    "SMPL and its extensions by the Max Planck Institute for Intelligent Systems come under licences of their own "
    "(smpl.is.tue.mpg.de, smpl-x.is.tue.mpg.de), which every user accepts there: non-commercial research, education "
    "and art only, and the files may not be passed on. Commercial use needs a licence from Meshcapade.\n\n"
    f"{_OWN_DUTY}",
)
PUBLISHED = {
    "eg3d": _EG3D,
    "panohead": _PANOHEAD,
    "portrait3d": _PORTRAIT3D,
    "triplanenet": _TRIPLANENET,
    "arcface": _ARCFACE,
    "smpl-body": _BODY,
}


def licence_of(family: str, notes: Mapping[str, str], *, is_official: bool) -> Licence:
    """Terms of a file.

    Args:
        family: Of its network.
        notes: Of a safetensors file; one that names its licence is believed.
        is_official: Whether the file is of the kind that the network's makers publish. Bare tensors may be anybody's.
    """
    if "licence" in notes:
        use = notes.get("commercial_use")
        known: CommercialUse = "yes" if use == "yes" else "no" if use == "no" else "unknown"
        name = _printable(notes["licence"])
        text = notes.get("licence_text", f"The file says that its licence is: {name}.\n\n{_OWN_DUTY}")
        return Licence(name, known, _printable(text))
    published = PUBLISHED[family]
    if is_official:
        return published
    return Licence(
        "unknown",
        "unknown",
        f"This file does not say whose weights it holds. If they are the published ones: {published.text}",
    )


def _printable(text: str) -> str:
    """Without what could steer a terminal."""
    return "".join(character for character in text if character.isprintable() or character == "\n")
