# SPDX-License-Identifier: Apache-2.0
import csv

import numpy as np
import pytest
from PIL import Image

from backend.evaluation.inversion_claims import Outcome, asked, find
from backend.evaluation.inversion_items import Entry
from backend.evaluation.inversion_page import (
    LABEL_PX,
    ROW_PX,
    SHOWN,
    Table,
    claim_table,
    failure_table,
    method_sheet,
    method_tables,
    write_csv,
    write_pages,
)
from backend.evaluation.scores import ItemResult
from backend.evaluation.sheet import CAPTION_PX, COLUMNS, sheet

SPI, PTI = Entry("spi", "draft"), Entry("pti", "draft")


def outcome(entry, subject, yaw, mse=None):
    item = f"{subject}{'' if yaw is None else f'{yaw:+03d}'}"
    name = f"{item}-{entry.label}"
    scores = {"mse_input": mse, "mse_unseen": 2 * mse} if mse is not None else {}
    failure = "" if mse is not None else "No <face>."
    return Outcome(item, subject, yaw, entry, ItemResult(name, scores, failure=failure))


def cell(table, label, column):
    row = next(row for row in table.rows if row[0] == label)
    return row[table.head.index(column)]


def test_entries_are_compared_on_the_same_photos_only():
    outcomes = [outcome(SPI, "a", 0, 0.1), outcome(SPI, "a", 30, 0.9), outcome(PTI, "a", 0, 0.2)]
    both, of_0, of_30, common = method_tables(outcomes)
    assert [len(table.rows) for table in (both, of_0, of_30, common)] == [1, 2, 1, 2]
    assert cell(both, "spi draft", "MSE photo") == "0.5"
    assert cell(common, "spi draft", "MSE photo") == "**0.1**"
    assert cell(common, "pti draft", "MSE photo") == "0.2"
    assert common.title.endswith("(a+00)")


def test_a_failure_weighs_on_the_mean_and_is_counted():
    outcomes = [outcome(SPI, "a", 0), outcome(SPI, "b", 0, 0.1), outcome(PTI, "a", 0, 0.7), outcome(PTI, "b", 0, 0.1)]
    table = method_tables(outcomes)[0]
    assert cell(table, "spi draft", "MSE photo") == cell(table, "pti draft", "MSE photo") == "**0.4**"
    assert cell(table, "spi draft", "failed") == "1"
    assert failure_table(outcomes).rows == [["a+00", "spi draft", "No <face>."]]


def test_real_photos_have_a_table_of_their_own():
    tables = method_tables([outcome(SPI, "a", 0, 0.1), outcome(SPI, "someone", None, 0.3)])
    assert tables[-1].title == "Real photos: someone"
    assert cell(tables[-1], "spi draft", "MSE photo") == "0.3"


def test_tables_look_alike_in_markdown_and_html():
    table = Table("Two < three", ["method", "MSE"], [["a", "**1**"], ["b", "2"]])
    assert table.markdown() == "**Two < three**\n\n| method | MSE |\n| --- | ---: |\n| a | **1** |\n| b | 2 |\n"
    assert "Two &lt; three" in table.html()
    assert '<td class="n"><b>1</b></td>' in table.html()


def test_every_claim_has_a_line_whether_there_are_results_or_not():
    rows = claim_table([find(claim, []) for claim in asked("draft")]).rows
    assert len(rows) == len(asked("draft"))
    assert {row[4] for row in rows} == {"no data"}


def picture(value):
    return np.full((16, 16, 3), value, np.uint8)


@pytest.fixture
def results(tmp_path):
    (tmp_path / "items").mkdir()
    outcomes = [outcome(SPI, "a", 0, 0.1), outcome(PTI, "a", 0, 0.2), outcome(Entry("w", "draft"), "a", 0)]
    for value, one in zip((40, 90), outcomes, strict=False):
        rows = [[picture(200)] * len(COLUMNS), [picture(value + column) for column in range(len(COLUMNS))]]
        sheet(rows).save(tmp_path / "items" / f"{one.result.name}.png")
    return tmp_path, outcomes


def test_a_sheet_has_the_truth_and_a_row_for_each_that_did_not_fail(results):
    made = np.asarray(method_sheet(*results))
    assert made.shape == (CAPTION_PX + 3 * ROW_PX, LABEL_PX + len(COLUMNS) * ROW_PX, 3)

    def middle(row, column):
        return made[CAPTION_PX + int((row + 0.5) * ROW_PX), LABEL_PX + int((column + 0.5) * ROW_PX), 0]

    assert [middle(row, 0) for row in range(3)] == [200, 40, 90]
    assert middle(2, 6) == 96


def test_the_page_needs_no_other_file_and_the_table_has_every_score(results):
    out, outcomes = results
    path = out / "sheet.png"
    Image.fromarray(picture(10)).save(path)
    write_pages(out, method_tables(outcomes), [path], "On a <machine>.")
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "On a &lt;machine&gt;." in page
    assert all(name in (out / "tables.md").read_text() for name in SHOWN.values())
    write_csv(out / "results.csv", outcomes)
    lines = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [line["mse_unseen"] for line in lines] == ["0.2", "0.4", ""]
    assert lines[2]["failure"] == "No <face>."
