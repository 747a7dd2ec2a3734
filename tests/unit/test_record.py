# SPDX-License-Identifier: Apache-2.0
import base64
import json
import zlib
from dataclasses import fields, replace

import numpy as np
import pytest

from backend.errors import RecordError
from backend.head import SCHEMA, HeadRecord, RecordedPhoto
from backend.record import record_from_json, record_to_json
from tests.analytic import example_record


def changed(**changes) -> str:
    content = json.loads(record_to_json(example_record()))
    content.update(changes)
    return json.dumps(content)


def test_a_record_comes_back_exactly():
    record = example_record()
    back = record_from_json(record_to_json(record))
    for field in fields(HeadRecord):
        if field.name != "codes":
            assert getattr(back, field.name) == getattr(record, field.name), field.name
    assert back.codes.keys() == record.codes.keys()
    for name, array in record.codes.items():
        np.testing.assert_array_equal(back.codes[name], array)
        assert back.codes[name].shape == array.shape


def test_only_the_plane_offset_is_stored_in_half_precision():
    record = example_record()
    stored = {name: array["dtype"] for name, array in json.loads(record_to_json(record))["codes"].items()}
    assert stored["plane_offset"] == "float16"
    assert stored["ws"] == "float32"
    assert stored["shape"] == "float64"


def test_writing_a_read_record_gives_the_same_text():
    text = record_to_json(example_record())
    assert record_to_json(record_from_json(text)) == text


def test_the_text_is_ascii():
    assert record_to_json(example_record()).isascii()


def test_arrays_come_back_writable():
    assert record_from_json(record_to_json(example_record())).codes["ws"].flags.writeable


@pytest.mark.parametrize("array", [np.array([np.nan]), np.array([1 + 2j]), np.array(["a"])])
def test_what_cannot_be_stored_is_refused(array):
    with pytest.raises((ValueError, TypeError)):
        record_to_json(replace(example_record(), codes={"ws": array}))


def test_a_plane_offset_too_large_for_half_precision_is_refused():
    with pytest.raises(ValueError, match="too large"):
        record_to_json(replace(example_record(), codes={"plane_offset": np.array([1e6], dtype=np.float32)}))


def test_a_later_schema_says_to_update():
    with pytest.raises(RecordError, match="Update Protome") as caught:
        record_from_json(changed(schema=SCHEMA + 1))
    assert caught.value.code == "record_newer"


ARRAY = {"dtype": "float32", "shape": [2], "data": "eJxjYGiwBwAB/wD/"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        "{}",
        "[" * 100_000,
        record_to_json(example_record())[:-40],
        changed(schema="1"),
        changed(schema=True),
        changed(schema=0),
        changed(generator=[]),
        changed(generator={"id": 3}),
        changed(codes={"ws": ARRAY}),
        changed(codes={"ws": ARRAY | {"dtype": "object"}}),
        changed(codes={"ws": ARRAY | {"dtype": ["float32"]}}),
        changed(codes={"ws": ARRAY | {"shape": [-1, -2]}}),
        changed(codes={"ws": ARRAY | {"shape": [1 << 40]}}),
        changed(codes={"ws": ARRAY | {"data": "!"}}),
        changed(codes={"ws": ARRAY | {"data": "äöü"}}),
        changed(camera={"cam2world": [[1.0]], "intrinsics": []}),
        changed(camera={}),
        changed(portrait_jpeg=None),
        changed(seed=1.5),
        changed(slider_values={"Jaw": 10**400}),
        changed(sliders=[{"name": "Jaw", "group": "Shape", "minimum": 1, "maximum": -1}]),
        changed(sliders=[{"name": "Jaw"}]),
        changed(slider_values={"Jaw": "wide"}),
        changed(slider_values={"Jaw": float("nan")}),
    ],
)
def test_damaged_text_is_a_record_error(text):
    with pytest.raises(RecordError, match="damaged") as caught:
        record_from_json(text)
    assert caught.value.code == "record_damaged"


def test_an_array_that_inflates_beyond_its_shape_is_refused_without_inflating_it():
    bomb = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    with pytest.raises(RecordError):
        record_from_json(changed(codes={"ws": {"dtype": "uint8", "shape": [10], "data": bomb}}))


def several() -> HeadRecord:
    codes = {"photo_mask": np.full((4, 4), 200, np.uint8), "expression": np.array([0.25, 0.5])}
    photo = RecordedPhoto(example_record().camera, b"a picture", 0.75, codes)
    return replace(example_record(), more_photos=[photo, replace(photo, weight=1.0)], weight=0.4)


def test_more_photos_come_back_exactly():
    back = record_from_json(record_to_json(several())).more_photos
    for one, photo in zip(back, several().more_photos, strict=True):
        assert (one.camera, one.portrait_jpeg, one.weight) == (photo.camera, photo.portrait_jpeg, photo.weight)
        assert one.codes.keys() == photo.codes.keys()
        for name, array in photo.codes.items():
            np.testing.assert_array_equal(one.codes[name], array)


def test_the_main_photo_keeps_its_weight_and_had_a_full_one_before_it_was_kept():
    text = record_to_json(several())
    assert record_from_json(text).weight == 0.4
    content = json.loads(text)
    del content["weight"]
    assert record_from_json(json.dumps(content)).weight == 1.0


def test_a_record_of_one_photo_is_written_as_before_there_could_be_more():
    """Earlier versions read it, and their records, which have no such key, are read here."""
    assert not {"more_photos", "weight"} & json.loads(record_to_json(example_record())).keys()
    assert record_from_json(record_to_json(example_record())).more_photos == []


@pytest.mark.parametrize(
    "damage",
    [
        {"weight": 0}, {"weight": 1.5}, {"weight": "1"}, {"camera": {}}, {"codes": []}, {"portrait_jpeg": "no base 64"},
    ],
)  # fmt: skip
def test_damaged_photos_are_refused(damage):
    content = json.loads(record_to_json(several()))
    content["more_photos"][1] |= damage
    with pytest.raises(RecordError) as caught:
        record_from_json(json.dumps(content))
    assert caught.value.code == "record_damaged"
