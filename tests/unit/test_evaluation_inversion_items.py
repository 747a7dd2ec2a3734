# SPDX-License-Identifier: Apache-2.0
import pytest

from backend.errors import SettingsError
from backend.evaluation.held_out import draw_list, read_list
from backend.evaluation.inversion_items import Entry, in_turns, item_name, parse_entry, seen_from


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("spi", Entry("spi", "balanced")),
        ("w+:best", Entry("w+", "best")),
        ("protome:draft:3", Entry("protome", "draft", 3)),
    ],
)
def test_entries_are_typed_with_colons(text, entry):
    assert parse_entry(text, "balanced") == entry


@pytest.mark.parametrize("text", ["", "spy", "spi:quick", "spi:best:2", "spi:best:3:1", "spi:best:", "spi::3"])
def test_other_texts_are_no_entries(text):
    with pytest.raises(SettingsError, match="is no entry"):
        parse_entry(text, "balanced")


def test_labels_tell_entries_apart():
    entries = [Entry("pti", "best"), Entry("pti", "draft"), Entry("pti", "best", 3)]
    assert [entry.label for entry in entries] == ["pti best", "pti draft", "pti best 3 photos"]


def test_several_photos_are_taken_around_a_frontal_one():
    assert Entry("protome", "draft", 3).can_do(0.0)
    assert not Entry("protome", "draft", 3).can_do(30.0)
    assert not Entry("protome", "draft", 3).can_do(None)
    assert Entry("protome", "draft").can_do(None)


def test_each_head_comes_from_in_front_and_one_side_before_any_comes_from_the_other():
    heads = in_turns(draw_list([0, 1]), [60, -60, 0, 30, -30])
    assert [item_name(head) for head in heads] == [
        "head-00+00", "head-00+30", "head-00+60", "head-01+00", "head-01-30", "head-01-60",
        "head-00-30", "head-00-60", "head-01+30", "head-01+60",
    ]  # fmt: skip


def test_only_the_list_s_own_photo_has_its_hash():
    head = read_list().heads[1]
    assert seen_from(head, head.yaw_deg).sha256 == head.sha256 != ""
    other = seen_from(head, -60.0)
    assert (other.sha256, other.yaw_deg, other.pitch_deg) == ("", -60.0, head.pitch_deg)
