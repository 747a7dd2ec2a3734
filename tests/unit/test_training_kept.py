# SPDX-License-Identifier: Apache-2.0
import pytest

from backend.errors import ModelError
from backend.training.kept import kept


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
    for content in (whole[:-5], b"", b"garbage", whole.replace(b"]", b"\xff", 1)):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="delete it"):
            kept(file, lambda: None)
