# SPDX-License-Identifier: Apache-2.0
"""What a person can do wrong at scripts/evaluate.py: one sentence, exit code 2, nothing measured."""

import sys

import evaluate
import pytest


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    return evaluate.main()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to do"),
        (["--items", "1"], "need --assets"),
        (["--items", "99"], "must lie between 0 and 12, not 99"),
        (["--photos", "missing"], "is no folder"),
        (["--model", "unknown", "--photos", "."], "unknown"),
        (["--write-list"], "need --assets"),
    ],
)
def test_wrong_options_are_said_in_one_line(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("evaluate: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "index.html").exists()


def test_a_result_folder_that_is_a_file_is_said(monkeypatch, capsys, tmp_path):
    (tmp_path / "out").write_text("")
    assert run(monkeypatch, "--out", tmp_path / "out") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_missing_assets_are_said(monkeypatch, capsys, tmp_path):
    options = ["--out", tmp_path / "out", "--assets", tmp_path, "--work", tmp_path, "--items", "1"]
    assert run(monkeypatch, *options) == 2
    assert str(tmp_path) in capsys.readouterr().err
