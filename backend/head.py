# SPDX-License-Identifier: Apache-2.0
"""The finished head, and the record that lets it be taken up again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
from jaxtyping import Float, UInt8

from backend.mesh import Mesh, seamless_normals

SCHEMA = 1
PHOTO_EXPRESSION = "Photo expression"  # The slider that puts the photo's expression on a neutral head.
COMMERCIAL_USE = {"yes": "commercial use is allowed", "no": "not for commercial use"}


@dataclass(frozen=True)
class Slider:
    """One named latent direction, as the artist sees it.

    Args:
        name: The shape key's name, such as ``Jaw width``.
        group: ``Shape``, ``Expression`` or ``Person``.
        minimum: Lowest safe value; the slider rests at 0.
        maximum: Highest safe value.
    """

    name: str
    group: str
    minimum: float
    maximum: float


@dataclass(frozen=True)
class MorphTarget:
    """A slider's geometry.

    Args:
        slider: Its name and range.
        offsets: How far each vertex moves at slider value 1, world units.
        start: Where the slider stands when the head is opened.
    """

    slider: Slider
    offsets: Float[np.ndarray, "v 3"]
    start: float = 0.0


@dataclass(frozen=True)
class RecordedPhoto:
    """One more photo of the person, beside the main one.

    Args:
        camera: As the record's.
        portrait_jpeg: The square portrait crop, as a JPEG file.
        weight: What it counts beside the other photos, above 0; the best of them has 1.
        codes: Name to array: its matte, and what of the head was different there from the main photo.
    """

    camera: dict[str, list[list[float]]]
    portrait_jpeg: bytes
    weight: float
    codes: dict[str, np.ndarray]


@dataclass(frozen=True)
class HeadRecord:
    """All that is needed to resynthesize a head; stored as JSON in the GLB's node extras.

    Args:
        generator: ``id``, ``family``, ``licence`` and ``commercial_use`` ("yes", "no" or "unknown") of the model.
        codes: Name to array: ``ws``, ``shape``, ``expression``, ``plane_offset``; what the generator's family has.
        camera: ``cam2world`` and ``intrinsics`` of the main photo's portrait crop, nested lists.
        portrait_jpeg: The square portrait crop that was inverted, as a JPEG file.
        photo_sha256: Hash of the photo's file; of several photos, of their hashes in turn.
        seed: The seed of the run.
        settings: The settings of the run by name.
        sliders: The sliders with their safe ranges.
        slider_values: Values already baked into ``codes`` by earlier resynthesis, by slider name; of
            ``PHOTO_EXPRESSION``, which is never baked in, where it stands.
        more_photos: Of the same person, beside the main one.
        weight: What the main photo counts beside them, above 0; the best of all has 1.
    """

    generator: dict[str, str]
    codes: dict[str, np.ndarray]
    camera: dict[str, list[list[float]]]
    portrait_jpeg: bytes
    photo_sha256: str
    seed: int
    settings: dict[str, object]
    sliders: list[Slider]
    slider_values: dict[str, float] = field(default_factory=dict)
    more_photos: list[RecordedPhoto] = field(default_factory=list)
    weight: float = 1.0
    schema: int = SCHEMA


@dataclass(frozen=True)
class Head:
    """What one run delivers.

    Args:
        mesh: With normals, uv and canonical positions, in world units.
        texture: Square sRGB picture for ``mesh.uv``.
        morph_targets: One per slider.
        record: For the GLB's extras.
        metres_per_unit: World unit in metres, so that the GLB has real head size.
        report: The JSON-ready content of ``--report``.
    """

    mesh: Mesh
    texture: UInt8[np.ndarray, "t t 3"]
    morph_targets: list[MorphTarget]
    record: HeadRecord
    metres_per_unit: float
    report: dict[str, object]


def opened_mesh(head: Head) -> Mesh:
    """The head as it is opened, every slider where it starts: what files without sliders hold."""
    return _moved_mesh(head, {target.slider.name: target.start for target in head.morph_targets})


def in_photo(head: Head) -> Head:
    """The head with the photo's expression: what can be held against the photo."""
    return replace(head, mesh=_moved_mesh(head, {PHOTO_EXPRESSION: 1.0}))


def _moved_mesh(head: Head, values: Mapping[str, float]) -> Mesh:
    offsets = [values[one.slider.name] * one.offsets for one in head.morph_targets if values.get(one.slider.name)]
    if not offsets:
        return head.mesh
    vertices = head.mesh.vertices + np.sum(offsets, axis=0)
    return replace(head.mesh, vertices=vertices, normals=seamless_normals(vertices, head.mesh))


def photos_sha256(hashes: Sequence[str]) -> str:
    """What a record keeps of the hashes of a head's photos: the one, or the hash of all in turn."""
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode("ascii")).hexdigest()


def licence_note(generator: Mapping[str, str]) -> str:
    """One line for people: with which model a head was made, under which licence, and whether it may be sold.

    Args:
        generator: Of the head's record.
    """
    allowed = COMMERCIAL_USE.get(generator.get("commercial_use", ""), "whether commercial use is allowed is not known")
    return f"Made with {generator.get('id', 'an unknown model')} ({generator.get('licence', 'no licence')}): {allowed}."
