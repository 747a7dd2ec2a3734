# SPDX-License-Identifier: Apache-2.0
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.camera import project
from backend.errors import SettingsError
from backend.evaluation.held_out import LIST, SEED, HeldOutHead, draw_list, read_list, write_list
from backend.evaluation.protocol import chosen_heads, find_photos, hash_notes
from backend.training.framing import HEAD_CENTRE_M

ROOT = Path(__file__).resolve().parents[2]


def test_a_list_is_read_as_it_was_written(tmp_path):
    drawn = draw_list(range(4))
    write_list(tmp_path / "list.json", drawn)
    assert read_list(tmp_path / "list.json") == drawn


def test_the_repository_has_a_list_with_a_hash_for_each_photo():
    held_out = read_list()
    assert held_out.seed == SEED
    assert len({head.number for head in held_out.heads}) == len(held_out.heads) >= 6
    assert all(re.fullmatch("[0-9a-f]{64}", head.sha256) for head in held_out.heads)


def test_the_cameras_of_the_list_are_those_that_are_drawn():
    held_out = read_list()
    drawn = draw_list([head.number for head in held_out.heads])
    assert [replace(head, sha256="") for head in held_out.heads] == list(drawn.heads)


def test_no_script_or_training_module_draws_people_with_the_list_s_seed():
    sources = [*(ROOT / "backend" / "training").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    for path in sources:
        assert not {str(SEED), f"{SEED:_}"} & set(re.findall(r"[\d_]+", path.read_text(encoding="utf-8"))), path


def test_photos_are_taken_from_in_front_and_from_both_sides():
    assert {head.yaw_deg for head in read_list().heads} == {0.0, 30.0, -30.0, 60.0, -60.0}


@pytest.mark.parametrize("yaw", [0.0, 60.0, -30.0])
def test_the_camera_stands_where_the_item_says(yaw):
    camera = HeldOutHead(0, yaw, 5.0, 10.0, 50.0, 0.4).camera()
    x, y, z = camera.position - HEAD_CENTRE_M
    assert np.degrees(np.arctan2(x, z)) == pytest.approx(yaw)
    assert np.degrees(np.arcsin(y / np.linalg.norm([x, y, z]))) == pytest.approx(5)
    image, _ = project(camera, HEAD_CENTRE_M[None])
    np.testing.assert_allclose(image[0], 0.5, atol=1e-9)


@pytest.mark.parametrize("content", ["", "{}", '{"seed": 1, "size_px": 2, "glasses_share": 0, "heads": [{"a": 1}]}'])
def test_a_damaged_list_is_said(tmp_path, content):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_list(tmp_path / "list.json")


def test_a_missing_list_is_said(tmp_path):
    with pytest.raises(SettingsError, match=r"list\.json"):
        read_list(tmp_path / "list.json")


def test_another_photo_than_the_list_s_is_noted():
    head = read_list(LIST).heads[0]
    assert hash_notes(head, head.sha256) == []
    assert "differs" in hash_notes(head, "0" * 64)[0]


def test_the_first_heads_are_chosen_and_no_more_than_there_are():
    held_out = draw_list(range(4))
    assert chosen_heads(held_out, 2).heads == held_out.heads[:2]
    assert chosen_heads(held_out, None) == held_out
    for count in (-1, 5):
        with pytest.raises(SettingsError, match="between 0 and 4"):
            chosen_heads(held_out, count)


def test_photos_are_found_by_their_suffix(tmp_path):
    for name in ("b.jpg", "a.PNG", "readme.md"):
        (tmp_path / name).write_text("")
    assert [path.name for path in find_photos(tmp_path)] == ["a.PNG", "b.jpg"]
    (tmp_path / "a.jpg").write_text("")
    with pytest.raises(SettingsError, match="suffix"):
        find_photos(tmp_path)


def test_a_folder_without_photos_is_said(tmp_path):
    with pytest.raises(SettingsError, match="no photos"):
        find_photos(tmp_path)
    with pytest.raises(SettingsError, match="no folder"):
        find_photos(tmp_path / "missing")
