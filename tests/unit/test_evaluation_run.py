# SPDX-License-Identifier: Apache-2.0
import csv
import json

import numpy as np
import pytest
from PIL import Image

from backend.errors import ModelError, OutputError, PhotoError
from backend.evaluation.page import Section, write_page
from backend.evaluation.run import Job, Measured, read_result, run_jobs, write_table
from backend.evaluation.scores import Goal, ItemResult
from backend.evaluation.sheet import CAPTION_PX, COLUMNS, sheet


def row(value=0, size=8):
    return [np.full((size, size, 3), value, np.uint8)] * len(COLUMNS)


class Counted:
    """Work that counts how often it was done."""

    def __init__(self, scores=None):
        self.scores, self.times = scores or {"psnr": 21.5, "gmsd": None}, 0

    def __call__(self):
        self.times += 1
        return Measured(self.scores, [row(), row(255)], ["seen"])


def refuse():
    raise PhotoError("head.png shows no <face>. Choose another photo.", code="no_face")


def silent(_):
    pass


def test_what_is_done_is_not_done_again(tmp_path):
    work = Counted()
    first = run_jobs([Job("head", {"seed": 1}, work)], tmp_path, silent)
    second = run_jobs([Job("head", {"seed": 1}, work)], tmp_path, silent)
    assert work.times == 1
    assert first == second == [ItemResult("head", {"psnr": 21.5, "gmsd": None}, ["seen"])]


def test_other_settings_or_a_damaged_result_are_done_anew(tmp_path):
    work = Counted()
    run_jobs([Job("head", {"seed": 1}, work)], tmp_path, silent)
    run_jobs([Job("head", {"seed": 2}, work)], tmp_path, silent)
    (tmp_path / "items" / "head.json").write_text('{"fingerprint": {"seed"')
    run_jobs([Job("head", {"seed": 2}, work)], tmp_path, silent)
    (tmp_path / "items" / "head.png").unlink()
    run_jobs([Job("head", {"seed": 2}, work)], tmp_path, silent)
    assert work.times == 4


def test_a_failure_is_kept_with_its_reason_and_the_rest_goes_on(tmp_path):
    heard = []
    jobs = [Job("bad", {}, refuse), Job("good", {}, Counted())]
    bad, good = run_jobs(jobs, tmp_path, heard.append)
    assert (bad.code, bad.scores) == ("no_face", {})
    assert good.scores["psnr"] == 21.5
    assert any("shows no" in line for line in heard)
    assert read_result(tmp_path / "items", jobs[0]) == bad


def test_a_mistake_of_ours_is_a_failure_too(tmp_path, capsys):
    def divide():
        return 1 / 0

    assert run_jobs([Job("bad", {}, divide)], tmp_path, silent)[0].code == "internal"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_what_no_item_can_do_without_stops_the_run(tmp_path):
    def miss():
        raise ModelError("The weights are missing. Install them.", code="model_missing")

    with pytest.raises(ModelError, match="missing"):
        run_jobs([Job("head", {}, miss)], tmp_path, silent)
    assert not list((tmp_path / "items").iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run_jobs([], tmp_path / "file", silent)


def test_the_table_has_a_line_for_each_item_and_gaps_where_nothing_is_known(tmp_path):
    results = [ItemResult("a", {"psnr": 20.0, "gmsd": None}), ItemResult("b", failure="No face.", code="no_face")]
    write_table(tmp_path / "t.csv", results)
    lines = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [line["item"] for line in lines] == ["a", "b"]
    assert (lines[0]["psnr"], lines[0]["gmsd"], lines[1]["failure"]) == ("20", "", "no_face")


def test_the_page_needs_no_other_file_and_shows_failures(tmp_path):
    results = run_jobs([Job("bad", {}, refuse), Job("good", {}, Counted())], tmp_path, silent)
    goals = [Goal("psnr", 20.0, "likeness")]
    section = Section("Heads", "Text & more", results, goals, tmp_path / "items", {"all": results}, ("psnr",))
    write_page(tmp_path / "index.html", {"model": "tiny"}, [section])
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert 'src="items' not in page
    assert "http" not in page
    assert "shows no &lt;face&gt;" in page
    assert "Text &amp; more" in page
    assert ">failed<" in page  # The median of one good and one failed item.


def test_a_sheet_has_a_column_for_each_caption():
    picture = sheet([row(0), row(200)])
    assert picture.size == (8 * len(COLUMNS), CAPTION_PX + 16)
    assert picture.getpixel((1, CAPTION_PX + 9)) == (200, 200, 200)
    with pytest.raises(ValueError, match="pictures"):
        sheet([row()[:-1]])


def test_results_are_plain_json_and_png(tmp_path):
    run_jobs([Job("head", {"seed": 1}, Counted())], tmp_path, silent)
    assert json.loads((tmp_path / "items" / "head.json").read_text())["scores"]["psnr"] == 21.5
    with Image.open(tmp_path / "items" / "head.png") as picture:
        assert picture.format == "PNG"
