# SPDX-License-Identifier: Apache-2.0
"""A head in its record: the codes it has now, the codes it had in the photo, and the portrait."""

from dataclasses import dataclass
from typing import Generic

import numpy as np

from backend.camera import Camera
from backend.errors import RecordError
from backend.head import HeadRecord
from backend.portrait_model.contract import CodesT, PortraitModel
from backend.portrait_record import MASK_PX, KeptPortrait

OF_PHOTO = "photo_"  # Before the names of arrays that sliders have moved away from.
MASK = "photo_mask"


@dataclass(frozen=True)
class KeptHead(Generic[CodesT]):
    """What a head can be made from.

    Args:
        codes: Of the head now.
        seen: Of the head as it was in the photo; equal to ``codes`` until sliders are baked in.
        portrait: The photo's part that shows it.
    """

    codes: CodesT
    seen: CodesT
    portrait: KeptPortrait


def to_record_codes(model: PortraitModel[CodesT], kept: KeptHead[CodesT]) -> dict[str, np.ndarray]:
    """The arrays of a record; what sliders never move is there once."""
    seen = model.to_arrays(kept.seen)
    of_photo = {f"{OF_PHOTO}{name}": seen[name] for name in model.moved_codes}
    return {**model.to_arrays(kept.codes), **of_photo, MASK: kept.portrait.mask}


def from_record(model: PortraitModel[CodesT], record: HeadRecord) -> KeptHead[CodesT]:
    """The inverse of ``to_record_codes``.

    Raises:
        RecordError: The head is of another model, or its record is damaged.
    """
    arrays = record.codes
    _check(model, record)
    try:
        # Earlier versions knew fewer kinds of codes.
        seen = arrays | {name: arrays[f"{OF_PHOTO}{name}"] for name in model.moved_codes if name in arrays}
        camera = Camera(np.array(record.camera["cam2world"]), np.array(record.camera["intrinsics"]))
        portrait = KeptPortrait(record.portrait_jpeg, arrays[MASK], camera)
        return KeptHead(model.from_arrays(arrays), model.from_arrays(seen), portrait)
    except KeyError as error:
        raise RecordError(
            f"The head's record lacks {error}. Create the head again from its photo.", code="record_damaged"
        ) from error


def _check(model: PortraitModel[CodesT], record: HeadRecord) -> None:
    if record.generator.get("id") != model.identity["id"]:
        raise RecordError(
            f"This head was made with the model “{record.generator.get('id')}”, but “{model.identity['id']}” is "
            "installed. Create the head again from its photo.",
            code="other_model",
        )
    of_photo = {f"{OF_PHOTO}{name}": model.code_shapes[name] for name in model.moved_codes}
    for name, shape in {**model.code_shapes, **of_photo, MASK: (MASK_PX, MASK_PX)}.items():
        if name in record.codes and record.codes[name].shape != shape:
            raise RecordError(
                f"The head's record was made with another version of the model: its {name} has another size. Create "
                "the head again from its photo.",
                code="record_damaged",
            )
