# SPDX-License-Identifier: Apache-2.0
import errno
import os
from pathlib import Path

import pytest

from backend.errors import OutputError
from backend.output import make_folder, write_output


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "Ergebnis ü.glb"
    write_output(path, b"first")
    write_output(path, b"second")
    assert path.read_bytes() == b"second"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_file_has_the_usual_permissions(tmp_path):
    write_output(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_relative_path_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_output(Path("head.glb"), b"content")
    assert (tmp_path / "head.glb").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("number", "reason", "code"),
    [
        (errno.ENOSPC, "the disk is full", "disk_full"),
        (errno.EDQUOT, "quota", "disk_full"),
        (errno.EACCES, "permission is missing", "unwritable"),
        (errno.EROFS, "read-only", "unwritable"),
        (errno.EIO, os.strerror(errno.EIO), "unwritable"),
    ],
)
def test_a_failure_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, number, reason, code):
    path = tmp_path / "head.glb"
    path.write_bytes(b"old")

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=reason) as caught:
        write_output(path, b"new")
    assert caught.value.code == code
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        write_output(tmp_path / "nowhere" / "head.glb", b"")


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(OutputError, match="it is a folder"):
        write_output(tmp_path, b"")
    assert tmp_path.is_dir()


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="its folder is a file"):
        write_output(tmp_path / "file" / "head.glb", b"")


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        make_folder(tmp_path / "file" / "below")
