# SPDX-License-Identifier: Apache-2.0
import os
import sys
import tempfile

import pytest

from backend.console import Console, quiet_console
from backend.progress import Progress


def test_each_stage_is_told_once_where_there_is_no_terminal(tmp_path):
    path = tmp_path / "stderr"
    with path.open("w") as stderr, path.open("rb") as captured:
        report = Console(stderr, stderr, captured).report("auto", 1)
        for progress in (("photo", 0.0, None), ("refine", 0.1, 80.4), ("refine", 0.5, 40.0), ("mesh", 0.9, 4.0)):
            report(Progress(*progress))
    assert path.read_text() == "photo   0%\nrefine  10%, about 1 min 20 s left\nmesh  90%, about 4 s left\n"


def test_streams_come_back_and_what_was_printed_is_captured(capfd):
    with quiet_console() as console:
        os.write(1, b"from stdout\n")
        os.write(2, b"from stderr\n")
        console.say("hello")
        log = console.save_log()
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("after\n", "protome: hello\n")
    text = log.read_text()
    log.unlink()
    assert "from stdout" in text and "from stderr" in text and sys.version in text


def test_streams_come_back_after_an_error(capfd):
    with pytest.raises(KeyboardInterrupt), quiet_console():
        raise KeyboardInterrupt
    os.write(1, b"back")
    assert capfd.readouterr().out == "back"


def test_no_place_for_captured_output_is_no_obstacle(capfd, monkeypatch):
    def no_place(*args, **options):
        raise OSError("full")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_place)
    with quiet_console() as console:
        os.write(1, b"lost")
        console.say("hello")
    assert capfd.readouterr() == ("", "protome: hello\n")
