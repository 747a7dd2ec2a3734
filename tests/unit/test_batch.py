# SPDX-License-Identifier: Apache-2.0
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.batch import SUMMARY, find_items, find_people, loose_photos, run_batch
from backend.catalogue import Installed
from backend.config import Settings
from backend.errors import ModelError, OutputError, ProtomeError, SettingsError
from tests import fake_pipeline

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings()


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """What the fake pipeline makes heads with."""
    metadata = {"id": "fake"}
    monkeypatch.setattr("backend.batch.find_generator", lambda name: Installed(name, Path("fake"), metadata))
    return metadata


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "Photos ü"
    folder.mkdir()
    return folder


def add(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(os.fsencode(f"photo {name}"))


def items_of(folder, out, *, suffix=".glb", is_recursive=False):
    return find_items(folder, out, suffix=suffix, is_recursive=is_recursive)


def outputs(folder, out, **options):
    return [item.output.relative_to(out).as_posix() for item in items_of(folder, out, **options)]


def silent(*_):
    pass


def run(folder, out, settings=SETTINGS, *, announce=silent, load_pipeline=lambda: fake_pipeline, say=silent):
    return run_batch(
        items_of(folder, out),
        out,
        settings,
        load_pipeline=load_pipeline,
        report_of=lambda number: lambda progress: None,
        announce=announce,
        say=say,
    )


def statuses(outcomes):
    return [(outcome.item.photo.name, outcome.status) for outcome in outcomes]


def summary(out):
    with (out / SUMMARY).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_photos_are_found_by_suffix_in_order(photos, tmp_path):
    add(photos, "b.JPG", "a.png", "c.tiff", "notes.txt", ".hidden.png", "sub/d.webp")
    (photos / "folder.png").mkdir()
    out = tmp_path / "out"
    assert outputs(photos, out) == ["a.glb", "b.glb", "c.glb"]
    assert outputs(photos, out, suffix=".ply", is_recursive=True) == ["a.ply", "b.ply", "c.ply", "sub/d.ply"]


def test_no_two_photos_share_an_output(photos, tmp_path):
    add(photos, "a.png", "A.jpg", "b.c.png", "b.png", "sub/a.png")
    out = tmp_path / "out"
    assert outputs(photos, out, is_recursive=True) == ["A.jpg.glb", "a.png.glb", "b.c.glb", "b.glb", "sub/a.glb"]
    assert [item.name for item in items_of(photos, out, is_recursive=True)][-1] == str(Path("sub", "a.png"))
    reports = [item.report.name for item in items_of(photos, out)]
    assert reports == ["A.jpg.json", "a.png.json", "b.c.json", "b.json"]


def test_results_are_not_taken_for_photos(photos):
    add(photos, "a.png", "out/a.png")
    assert [item.photo.name for item in items_of(photos, photos / "out", is_recursive=True)] == ["a.png"]
    with pytest.raises(SettingsError, match="among the photos"):
        items_of(photos, photos / "sub" / "..")


def test_folders_without_photos_are_refused(photos, tmp_path):
    with pytest.raises(SettingsError, match="holds no photo"):
        items_of(photos, tmp_path / "out")
    with pytest.raises(SettingsError, match="no folder"):
        items_of(photos / "nowhere", tmp_path / "out")


def test_batch_goes_on_after_bad_photos(photos, tmp_path, capsys):
    add(photos, "anna.png", "broken.png", "noface.png", "zoë.png")
    out = tmp_path / "new" / "out"
    outcomes = run(photos, out)
    assert statuses(outcomes) == [
        ("anna.png", "done"),
        ("broken.png", "failed"),
        ("noface.png", "failed"),
        ("zoë.png", "done"),
    ]
    rows = summary(out)
    assert [row["status"] for row in rows] == ["done", "failed", "failed", "done"]
    assert rows[0]["identity"] == "0.4" and rows[0]["output"] == str(out / "anna.glb") and rows[0]["reason"] == ""
    assert rows[2]["reason"].startswith("noface.png shows no face.") and rows[2]["output"] == ""
    assert (out / "zoë.glb").read_bytes()[:4] == b"glTF"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_only_what_has_changed_is_done_again(photos, tmp_path):
    add(photos, "a.png", "b.png", "c.png", "d.png", "e.png")
    out = tmp_path / "out"
    assert {status for _, status in statuses(run(photos, out))} == {"done"}
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.glb")}
    (photos / "a.png").write_bytes(b"another photo")
    (out / "b.glb").unlink()
    (out / "c.json").write_text("{")
    (out / "d.json").write_text("[]")
    outcomes = run(photos, out, Settings(device="cpu"))
    assert [status for _, status in statuses(outcomes)] == ["done", "done", "done", "done", "skipped"]
    assert summary(out)[4]["identity"] == "0.4"
    assert (out / "e.glb").stat().st_mtime_ns == times[out / "e.glb"]
    assert {status for _, status in statuses(run(photos, out, Settings(seed=1)))} == {"done"}
    assert {status for _, status in statuses(run(photos, out, Settings(seed=1)))} == {"skipped"}


def test_heads_of_other_weights_or_of_another_version_are_made_again(photos, tmp_path, installed, monkeypatch):
    add(photos, "a.png")
    out = tmp_path / "out"
    assert [outcome.status for outcome in run(photos, out) + run(photos, out)] == ["done", "skipped"]
    installed["id"] = "others"
    assert run(photos, out)[0].status == "done"
    installed["id"] = "fake"
    monkeypatch.setattr("backend.batch.__version__", "99")
    assert run(photos, out)[0].status == "done"


def test_before_the_work_it_says_how_long_what_is_left_will_take(photos, tmp_path):
    add(photos, "a.png", "b.png", "c.png")
    out, said = tmp_path / "out", []
    run(photos, out, say=said.append)
    (out / "b.glb").unlink()
    run(photos, out, say=said.append)
    run(photos, out, say=said.append)
    assert said == [
        "3 of 3 to do. This takes about 37 s on this machine (2 CPU threads).",
        "1 of 3 to do. This takes about 12 s on this machine (2 CPU threads).",
    ]


def test_summary_is_whole_after_each_photo(photos, tmp_path):
    add(photos, "a.png", "b.png")
    out = tmp_path / "out"
    lengths = []
    run(photos, out, announce=lambda number, outcome: lengths.append((number, len(summary(out)))))
    assert lengths == [(1, 1), (2, 2)]


def test_unwritable_output_folder_is_told(photos, tmp_path):
    add(photos, "a.png")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        run(photos, tmp_path / "file" / "out")


@pytest.mark.parametrize("code", ["no_torch", "no_device", "no_encoder"])
def test_batch_stops_when_all_photos_would_fail_alike(photos, tmp_path, code):
    def load_pipeline():
        raise ModelError("It is not there.", code=code)

    add(photos, "a.png", "b.png")
    with pytest.raises(ProtomeError, match="It is not there") as caught:
        run(photos, tmp_path / "out", load_pipeline=load_pipeline)
    assert caught.value.code == code
    assert [row["status"] for row in summary(tmp_path / "out")] == ["failed"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not Unicode")
def test_file_names_that_are_not_unicode_are_photos_too(photos, tmp_path):
    add(photos, os.fsdecode(b"caf\xe9.png"))
    done = subprocess.run(command(photos, "--out", tmp_path / "out"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.glb")).is_file()
    assert summary(tmp_path / "out")[0]["photo"].endswith(r"caf\udce9.png")


def command(*arguments):
    return [sys.executable, str(ROOT / "tests" / "fake_cli.py"), "batch", *map(str, arguments)]


def test_exit_code_says_whether_all_went_well(photos, tmp_path):
    add(photos, "a.png")
    out = tmp_path / "out"
    good = subprocess.run(command(photos, "--out", out), capture_output=True, text=True, encoding="utf-8")
    assert good.returncode == 0 and "protome: 1 of 1, a.png: done, " in good.stderr
    add(photos, "noface.png")
    bad = subprocess.run(
        command(photos, "--out", out, "--progress", "json"), capture_output=True, text=True, encoding="utf-8"
    )
    assert bad.returncode == 3 and "2 of 2, noface.png: failed: noface.png shows no face." in bad.stderr
    events = [json.loads(line) for line in bad.stdout.splitlines()]
    assert [(event["id"], event["event"]) for event in events if event["event"] != "progress"] == [
        (1, "done"),
        (2, "failed"),
    ]
    nothing = subprocess.run(command(photos, "--out", photos), capture_output=True, text=True, encoding="utf-8")
    assert nothing.returncode == 2 and nothing.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="SIGINT and SIGKILL")
@pytest.mark.parametrize(("stop", "exit_code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_batch_keeps_what_is_done(photos, tmp_path, stop, exit_code):
    add(photos, "a.png", "slow.png")
    out = tmp_path / "out"
    with subprocess.Popen(command(photos, "--out", out), stderr=subprocess.PIPE, text=True) as process:
        while not (line := process.stderr.readline()).startswith("protome: 1 of 2") and line:
            pass
        while not (line := process.stderr.readline()).startswith("refine") and line:
            pass
        process.send_signal(stop)
        process.communicate(timeout=20)
    assert process.returncode == exit_code
    assert [(Path(row["photo"]).name, row["status"]) for row in summary(out)] == [("a.png", "done")]
    assert sorted(path.name for path in out.iterdir()) == ["a.glb", "a.json", SUMMARY]


def test_script_runs_the_batch_command():
    text = (ROOT / "scripts" / "batch_export.py").read_text(encoding="utf-8")
    assert 'main(["batch", *sys.argv[1:]])' in text


def run_people(folder, out):
    return run_batch(
        find_people(folder, out, suffix=".glb"),
        out,
        SETTINGS,
        load_pipeline=lambda: fake_pipeline,
        report_of=lambda number: lambda progress: None,
        announce=lambda number, outcome: None,
    )


def test_each_folder_is_a_person(photos, tmp_path):
    add(photos, "alone.png", "Zoë/b.png", "Zoë/a.jpg", "Zoë/notes.txt", "Anna/1.png", "empty/notes.txt")
    anna, zoe = find_people(photos, tmp_path / "out", suffix=".ply")
    assert (anna.photo.name, anna.more_photos, anna.output) == ("1.png", (), tmp_path / "out" / "Anna.ply")
    assert (zoe.photo.name, [photo.name for photo in zoe.more_photos]) == ("a.jpg", ["b.png"])
    assert zoe.output.name == "Zoë.ply" and (anna.name, zoe.name) == ("Anna/", "Zoë/")
    assert [photo.name for photo in loose_photos(photos)] == ["alone.png"]
    with pytest.raises(SettingsError, match="no folder with photos"):
        find_people(photos / "Zoë", tmp_path / "out", suffix=".glb")


def test_hidden_folders_hold_nobody(photos, tmp_path):
    add(photos, "Anna/1.png", ".thumbnails/1.png")
    assert [item.photo.parent.name for item in find_people(photos, tmp_path / "out", suffix=".glb")] == ["Anna"]
    assert outputs(photos, tmp_path / "out", is_recursive=True) == ["Anna/1.glb"]


def test_a_person_is_done_once_until_a_photo_changes_or_comes(photos, tmp_path):
    add(photos, "Anna/1.png", "Anna/2.png")
    out = tmp_path / "out"
    (first,) = run_people(photos, out)
    hashes = [hashlib.sha256((photos / "Anna" / name).read_bytes()).hexdigest() for name in ("1.png", "2.png")]
    report = json.loads((out / "Anna.json").read_text("utf-8"))
    assert first.status == "done" and report["photo_sha256"] == hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert run_people(photos, out)[0].status == "skipped"
    add(photos, "Anna/3.png")
    assert run_people(photos, out)[0].status == "done"
    (photos / "Anna" / "2.png").write_bytes(b"another photo")
    assert run_people(photos, out)[0].status == "done"
