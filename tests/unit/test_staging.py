# SPDX-License-Identifier: Apache-2.0
import errno
import os
import shutil

import pytest

from backend.errors import OutputError, SettingsError
from backend.output import write_output
from backend.staging import check_output, remove_leftovers, staging


def text(content):
    return lambda path: path.write_text(content)


def test_results_appear_together_and_only_at_the_end(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "head.glb").write_text("older")
    with staging() as stage:
        stage(tmp_path / "head.glb", text("newer"))
        stage(other / "report.json", text("{}"))
        assert (tmp_path / "head.glb").read_text() == "older" and not (other / "report.json").exists()
    assert (tmp_path / "head.glb").read_text() == "newer" and (other / "report.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.glb", "other"]


def test_files_beside_the_result_move_along(tmp_path):
    def write(path):
        path.write_text("mtllib head.mtl")
        path.with_suffix(".mtl").write_text("material")

    with staging() as stage:
        stage(tmp_path / "head.obj", write)
    assert (tmp_path / "head.mtl").read_text() == "material"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_appears_after_an_error(tmp_path, error):
    (tmp_path / "head.glb").write_text("older")
    with pytest.raises(error), staging() as stage:
        stage(tmp_path / "head.glb", text("newer"))
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["head.glb"]
    assert (tmp_path / "head.glb").read_text() == "older"


def test_full_disk_is_told_with_the_name_of_the_result(tmp_path, monkeypatch):
    def write_to_full_disk(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for write in (write_to_full_disk, lambda path: write_output(path / "in a file", b"")):
        with pytest.raises(OutputError) as caught, staging() as stage:
            path = tmp_path / "report.json"
            stage(path, text("{}"))
            stage(tmp_path / "head.glb", write)
        assert f"{tmp_path / 'head.glb'} cannot be written" in str(caught.value)
        assert not list(tmp_path.iterdir())


def test_the_photo_is_never_replaced(tmp_path):
    (tmp_path / "anna.png").write_text("photo")
    with pytest.raises(OutputError, match="would replace the photo"), staging(keep=[tmp_path / "anna.png"]) as stage:
        stage(tmp_path / "anna.obj", lambda path: path.with_suffix(".png").write_text("texture"))
    assert (tmp_path / "anna.png").read_text() == "photo"
    assert [path.name for path in tmp_path.iterdir()] == ["anna.png"]


def test_a_photo_that_has_gone_meanwhile_loses_no_result(tmp_path):
    (tmp_path / "head.glb").write_text("older")
    with staging(keep=[tmp_path / "gone.png"]) as stage:
        stage(tmp_path / "head.glb", text("newer"))
    assert (tmp_path / "head.glb").read_text() == "newer"


def test_bad_places_are_found_before_the_work(tmp_path):
    (tmp_path / "folder.glb").mkdir()
    (tmp_path / "file").write_text("")
    check_output(tmp_path / "HEAD.GLB", [".glb"])
    with pytest.raises(SettingsError, match=r"must end in \.glb"):
        check_output(tmp_path / "head", [".glb"])
    for path in (tmp_path / "folder.glb", tmp_path / "nowhere" / "head.glb", tmp_path / "file" / "head.glb"):
        with pytest.raises(OutputError, match="cannot be written"):
            check_output(path, [".glb"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.glb"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_found_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission"):
        check_output(tmp_path / "head.glb", [".glb"])


def test_leftovers_of_this_process_are_removed_and_no_others(tmp_path):
    (tmp_path / f".protome-{os.getpid()}-x").mkdir()
    (tmp_path / f".protome-{os.getpid()}1-x").mkdir()
    remove_leftovers([tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == [f".protome-{os.getpid()}1-x"]


def test_a_disk_without_room_for_a_head_is_told_before_the_work(tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(OutputError, match="the disk is full") as caught:
        check_output(tmp_path / "head.glb", [".glb"])
    assert caught.value.code == "disk_full" and not list(tmp_path.iterdir())
