# SPDX-License-Identifier: Apache-2.0
"""The command line as a process of its own, with the fake pipeline."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.glb import read_record
from backend.protocol import Done, Failed, JobProgress, parse_event

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "tests" / "fake_cli.py")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()
    for name in ("anna", "noface", "broken", "memory", "noisy", "slow", "Zoë mit Hut"):
        (tmp_path / f"{name}.png").write_bytes(b"a photo")
    return tmp_path


def run(folder, *arguments, command=COMMAND):
    return subprocess.run([*command, *arguments], capture_output=True, text=True, encoding="utf-8", cwd=folder)


def logs(folder):
    return list((folder / "logs").iterdir())


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_photo_becomes_a_head_and_a_report(folder):
    done = run(folder, "invert", "Zoë mit Hut.png", "-o", "Köpfe.glb", "--report", "r.json", "--seed", "7")
    assert (done.returncode, done.stdout) == (0, "Köpfe.glb\n")
    told = done.stderr.splitlines()
    assert [line.split()[0] for line in told] == ["start", "protome:", "photo", "refine", "mesh", "write"]
    assert told[1] == "protome: This takes about 12 s on this machine (2 CPU threads)."
    assert (folder / "Köpfe.glb").read_bytes()[:4] == b"glTF"
    report = json.loads((folder / "r.json").read_text("utf-8"))
    assert report["seed"] == report["settings"]["seed"] == 7
    assert report["timings_s"]["write"] > 0 and report["peak_rss_mb"] > 5
    assert not logs(folder)


def test_json_progress_has_the_worker_messages(folder):
    done = run(folder, "invert", "noisy.png", "-o", "head.glb", "--progress", "json")
    events = [parse_event(line.encode()) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert {type(event) for event in events[:-1]} == {JobProgress}
    assert isinstance(events[-1], Done) and events[-1].result["output"] == "head.glb"
    failed = run(folder, "invert", "noface.png", "-o", "head.glb", "--progress", "json")
    event = parse_event(failed.stdout.splitlines()[-1].encode())
    assert isinstance(event, Failed) and event.code == "no_face"


def test_libraries_do_not_litter(folder):
    done = run(folder, "invert", "noisy.png", "-o", "head.glb", "--progress", "none")
    assert (done.returncode, done.stdout, done.stderr) == (0, "head.glb\n", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["invert", "noface.png", "-o", "head.glb"], "noface.png shows no face. Choose another photo."),
        (["invert", "nobody.png", "-o", "head.glb"], "There is no file nobody.png. Check the path."),
        (["invert", "memory.png", "-o", "head.glb"], "The memory is not enough."),
        (["invert", "anna.png", "-o", "head.fbx"], "head.fbx must end in .glb or .obj or .ply."),
        (["invert", "anna.png", "-o", "nowhere/head.glb"], "nowhere/head.glb cannot be written"),
        (["invert", "anna.png", "-o", "head.glb", "--report", "r.txt"], "r.txt must end in .json."),
        (["invert", "anna.png", "-o", "head.glb", "--faces", "3"], "faces must be a whole number from 1000 to 200000"),
        (["invert", "anna.png", "-o", "head.glb", "--faces", "many"], "Argument --faces: invalid int value: 'many'."),
        (["invert", "anna.png", "-o", "head.glb", "--quality", "good"], "invalid choice: 'good'"),
        (["invert", "-o", "head.glb"], "One of the arguments photo --sample is required."),
        (["resynthesize", "anna.png", "-o", "head.glb"], "anna.png is no head made by Protome."),
        (["resynthesize", "nobody.glb", "-o", "head.glb"], "nobody.glb cannot be read"),
        (["resynthesize", "nobody.glb", "-o", "head.glb", "--slider", "Smile"], "'Smile' is no slider value."),
        (["invert", "anna.png", "-o", "head.glb", "left.png"], "photos stand together"),
        (["explode"], "invalid choice: 'explode'"),
        ([], "COMMAND"),
    ],
)
def test_what_users_cause_is_one_sentence_and_code_2(folder, arguments, sentence):
    before = names(folder)
    done = run(folder, *arguments, *(["--progress", "none"] if len(arguments) > 1 else []))
    assert done.returncode == 2
    assert done.stderr.startswith("protome: ") and done.stderr.count("\n") == 1 and sentence in done.stderr
    assert names(folder) == before and not logs(folder)


def test_our_own_mistake_is_one_sentence_and_a_log(folder):
    done = run(folder, "invert", "broken.png", "-o", "head.glb", "--progress", "none")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    log = Path(re.search(r"log (\S+\.log)\.", done.stderr)[1])
    assert logs(folder) == [log]
    assert "ZeroDivisionError: a mistake in the pipeline" in log.read_text() and "broken.png" in log.read_text()
    assert not (folder / "head.glb").exists()


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process")
def test_ctrl_c_stops_and_leaves_the_old_output(folder):
    (folder / "head.glb").write_bytes(b"older")
    before = names(folder)
    process = subprocess.Popen(
        [*COMMAND, "invert", "slow.png", "-o", "head.glb"], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    while not process.stderr.readline().startswith("refine"):
        pass
    start_s = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert time.perf_counter() - start_s < 2
    assert (process.returncode, stderr) == (130, "protome: Stopped.\n")
    assert names(folder) == before and (folder / "head.glb").read_bytes() == b"older"


def test_sliders_are_baked_and_settings_kept(folder):
    run(folder, "invert", "anna.png", "-o", "head.glb", "--seed", "7", "--faces", "5000")
    done = run(folder, "resynthesize", "head.glb", "--slider", "Jaw width=0.5", "-o", "head.glb", "--faces", "6000")
    assert done.returncode == 0, done.stderr
    record = read_record(folder / "head.glb")
    assert record.slider_values == {"Jaw width": 0.5}
    assert (record.settings["seed"], record.settings["faces"]) == (7, 6000)
    refused = run(folder, "resynthesize", "head.glb", "--slider", "Smile=nan", "-o", "head.glb", "--progress", "none")
    assert refused.stderr == "protome: Smile must be between 0 and 1, not nan.\n"


@pytest.mark.parametrize(
    "option",
    [("--quality", "best"), ("--method", "pti"), ("--model", "other"), ("--seed", "1"), ("--expression", "photo")],
)
def test_a_head_made_anew_takes_no_setting_that_would_do_nothing(folder, option):
    done = run(folder, "resynthesize", "head.glb", "-o", "other.glb", *option)
    assert done.returncode == 2 and option[0] in done.stderr


def test_command_and_worker_make_the_same_file(folder):
    run(folder, "invert", "anna.png", "-o", "command.glb")
    request = {"photo": str(folder / "anna.png"), "output": str(folder / "worker.glb"), "settings": {}}
    line = json.dumps({"id": 1, "method": "invert", "params": request | {"report": None, "preview": None}})
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "fake_worker.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        while not isinstance(parse_event(process.stdout.readline()), Done):
            pass
        process.stdin.close()
    assert (folder / "worker.glb").read_bytes() == (folder / "command.glb").read_bytes()


def test_several_photos_become_one_head(folder):
    before = run(folder, "invert", "anna.png", "-o", "one.glb", "--report", "one.json")
    done = run(folder, "invert", "anna.png", "noisy.png", "-o", "two.glb", "--report", "two.json")
    assert before.returncode == done.returncode == 0, done.stderr
    one, two = (json.loads((folder / f"{name}.json").read_text())["photo_sha256"] for name in ("one", "two"))
    assert one == hashlib.sha256(b"a photo").hexdigest() != two
    assert two == hashlib.sha256((one + one).encode()).hexdigest()


def test_of_several_photos_the_one_without_a_face_is_named(folder):
    done = run(folder, "invert", "anna.png", "noface.png", "-o", "head.glb")
    assert done.returncode == 2
    assert "noface.png shows no face. Choose another photo." in done.stderr
    assert not (folder / "head.glb").exists()


def test_no_result_replaces_one_of_several_photos(folder):
    (folder / "noisy.glb").write_bytes(b"a photo with a strange name")
    done = run(folder, "invert", "anna.png", "noisy.glb", "-o", "noisy.glb")
    assert done.returncode == 2 and "would replace the photo noisy.glb" in done.stderr


def test_sample_is_a_photo_that_is_there(folder):
    done = run(folder, "invert", "--sample", "-o", "head.glb")
    assert done.returncode == 0, done.stderr


def test_help_and_version_need_no_package(folder):
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "]
    command[-1] += "from backend.cli import main; sys.exit(main(sys.argv[1:]))"
    for arguments in (["--help"], ["invert", "--help"], ["--version"]):
        assert run(folder, *arguments, command=command).returncode == 0
    done = run(folder, "invert", "anna.png", "-o", "head.glb", "--progress", "none", command=command)
    assert done.returncode == 2
    assert done.stderr == (
        "protome: PyTorch is not installed. Run `python3 scripts/protome.py setup`, which installs what is needed.\n"
    )
    sample = run(folder, "invert", "--sample", "-o", "head.glb", command=command)
    assert sample.returncode == 2 and "scikit-image is not installed" in sample.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_full_temporary_disk_does_not_hide_the_sentence(folder, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(folder / "nowhere"))
    done = run(folder, "invert", "noface.png", "-o", "head.glb", "--progress", "none")
    assert done.stderr == "protome: noface.png shows no face. Choose another photo.\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_terminal_shows_one_updating_line(folder):
    import pty

    terminal, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, "invert", "anna.png", "-o", "head.glb"], cwd=folder, stderr=theirs, stdout=-3)
    os.close(theirs)
    assert process.wait() == 0
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "refine  10%, about 0 s left" in shown
    before, _, updated = shown.partition("on this machine (2 CPU threads).\r\n")
    assert "\n" not in before and "\n" not in updated and updated.endswith("\r")


def test_the_expression_of_a_new_head_can_be_chosen(folder):
    run(folder, "invert", "anna.png", "-o", "head.glb", "--report", "r.json", "--expression", "photo")
    assert json.loads((folder / "r.json").read_text())["settings"]["expression"] == "photo"
    refused = run(folder, "invert", "anna.png", "-o", "head.glb", "--expression", "smile")
    assert refused.returncode == 2 and "--expression" in refused.stderr
