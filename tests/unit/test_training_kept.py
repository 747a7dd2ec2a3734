# SPDX-License-Identifier: Apache-2.0
import errno
from dataclasses import dataclass, replace

import numpy as np
import pytest

from backend.errors import ModelError, OutputError
from backend.training import kept as keeping
from backend.training.kept import content_mark, kept, kept_name, write_whole


def test_a_result_is_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"answer": 42}

    file = tmp_path / "folder" / "result.pickle"
    assert kept(file, make) == kept(file, make) == {"answer": 42}
    assert made == [1]
    assert [path.name for path in file.parent.iterdir()] == ["result.pickle"]


def test_a_failure_leaves_no_result(tmp_path):
    with pytest.raises(ZeroDivisionError):
        kept(tmp_path / "result.pickle", lambda: 1 / 0)
    assert not list(tmp_path.iterdir())


def test_a_damaged_result_is_a_model_error(tmp_path):
    file = tmp_path / "result.pickle"
    kept(file, lambda: list(range(100)))
    whole = file.read_bytes()
    for content in (whole[:-5], b"", b"garbage"):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="delete it"):
            kept(file, lambda: None)


def test_a_full_disk_is_an_output_error_and_leaves_what_was_there(tmp_path):
    file = tmp_path / "result.txt"
    write_whole(file, lambda partial: partial.write_text("old"))

    def fill(partial):
        partial.write_text("half of the new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"No space left on device.*Free some space"):
        write_whole(file, fill)
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["result.txt"]


def test_a_folder_that_cannot_be_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        kept(tmp_path / "file" / "result.pickle", lambda: 1)


def test_a_name_changes_with_numbers_and_sources_and_with_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "SOURCES", tmp_path)
    (tmp_path / "paint.py").write_text("blue = 1")
    (tmp_path / "noise.py").write_text("loud = 1")
    first = kept_name("heads", modules=("paint",), numbers=(1, 2.5))
    assert first.startswith("heads-") and first.endswith(".pickle")
    (tmp_path / "noise.py").write_text("loud = 2")
    assert kept_name("heads", modules=("paint",), numbers=(1, 2.5)) == first
    assert kept_name("heads", modules=("paint",), numbers=(1, 2.6)) != first
    (tmp_path / "paint.py").write_text("blue = 2")
    assert kept_name("heads", modules=("paint",), numbers=(1, 2.5)) != first


@dataclass(frozen=True)
class Shape:
    name: str
    places: np.ndarray
    below: "Shape | None" = None


def test_a_mark_changes_with_every_number_however_deep_and_with_nothing_else():
    # So long that its text is shortened.
    places = np.arange(30000.0)
    moved = places.copy()
    moved[15000] += 1e-9
    shape = Shape("head", places, Shape("neck", places))
    marks = [
        content_mark(one)
        for one in (
            shape, replace(shape, name="hand"), replace(shape, places=moved), replace(shape, below=None),
            replace(shape, below=Shape("neck", moved)),
        )
    ]  # fmt: skip
    assert len(set(marks)) == len(marks)
    assert content_mark(Shape("head", places.copy(), Shape("neck", places.copy()))) == marks[0]
