# SPDX-License-Identifier: Apache-2.0
"""A head in its record: the codes it has now, the codes it had in each photo, and the portraits."""

from dataclasses import dataclass
from typing import Generic

import numpy as np

from backend.camera import Camera
from backend.errors import RecordError
from backend.head import PHOTO_EXPRESSION, HeadRecord, RecordedPhoto
from backend.portrait_model.contract import CodesT, PortraitModel
from backend.portrait_record import MASK_PX, KeptPortrait

OF_PHOTO = "photo_"  # Before the names of arrays that sliders have moved away from.
MASK = "photo_mask"


@dataclass(frozen=True)
class KeptHead(Generic[CodesT]):
    """What a head can be made from.

    Args:
        codes: Of the head now.
        seen: Of the head as it was in each photo, the main one first; that is ``codes`` until sliders are baked in.
        portraits: The photos' parts that show it.
        photo_expression: Where the slider of the main photo's expression stands.
    """

    codes: CodesT
    seen: list[CodesT]
    portraits: list[KeptPortrait]
    photo_expression: float = 0.0


def to_record_codes(model: PortraitModel[CodesT], kept: KeptHead[CodesT]) -> dict[str, np.ndarray]:
    """The arrays of a record, the main photo's among them; what sliders never move is there once."""
    seen = model.to_arrays(kept.seen[0])
    of_photo = {f"{OF_PHOTO}{name}": seen[name] for name in model.moved_codes}
    return {**model.to_arrays(kept.codes), **of_photo, MASK: kept.portraits[0].mask}


def to_record_photos(model: PortraitModel[CodesT], kept: KeptHead[CodesT]) -> list[RecordedPhoto]:
    """All photos but the main one; of the head's codes there, those that are not the main photo's."""
    main = model.to_arrays(kept.seen[0])
    return [
        RecordedPhoto(
            camera=to_lists(portrait.camera),
            portrait_jpeg=portrait.jpeg,
            weight=portrait.weight,
            codes={MASK: portrait.mask} | _changes(main, model.to_arrays(seen)),
        )
        for seen, portrait in zip(kept.seen[1:], kept.portraits[1:], strict=True)
    ]


def from_record(model: PortraitModel[CodesT], record: HeadRecord) -> KeptHead[CodesT]:
    """The inverse of ``to_record_codes`` and ``to_record_photos``.

    Raises:
        RecordError: The head is of another model, or its record is damaged.
    """
    arrays = record.codes
    _check(model, record)
    try:
        # Earlier versions knew fewer kinds of codes.
        main = arrays | {name: arrays[f"{OF_PHOTO}{name}"] for name in model.moved_codes if name in arrays}
        portraits = [KeptPortrait(record.portrait_jpeg, arrays[MASK], _camera(record.camera), record.weight)]
        seen = [model.from_arrays(main)]
        for photo in record.more_photos:
            portraits.append(KeptPortrait(photo.portrait_jpeg, photo.codes[MASK], _camera(photo.camera), photo.weight))
            seen.append(model.from_arrays(main | photo.codes))
        codes, is_neutral = model.from_arrays(arrays), any(one.name == PHOTO_EXPRESSION for one in record.sliders)
        if not is_neutral:  # Heads of earlier versions had the photo's expression baked in.
            codes = model.at_rest(codes, seen[0])
        shown = record.slider_values.get(PHOTO_EXPRESSION, 0.0 if is_neutral else 1.0)
        return KeptHead(codes, seen, portraits, shown)
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
    shapes = {**model.code_shapes, **of_photo, MASK: (MASK_PX, MASK_PX)}
    for arrays in (record.codes, *(photo.codes for photo in record.more_photos)):
        for name in shapes.keys() & arrays.keys():
            if arrays[name].shape != shapes[name]:
                raise RecordError(
                    f"The head's record was made with another version of the model: its {name} has another size. "
                    "Create the head again from its photo.",
                    code="record_damaged",
                )


def to_lists(camera: Camera) -> dict[str, list[list[float]]]:
    """A camera as records keep it."""
    return {"cam2world": camera.cam2world.tolist(), "intrinsics": camera.intrinsics.tolist()}


def _camera(lists: dict[str, list[list[float]]]) -> Camera:
    return Camera(np.array(lists["cam2world"]), np.array(lists["intrinsics"]))


def _changes(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that are not the same."""
    return {name: array for name, array in after.items() if not np.array_equal(array, before[name])}
