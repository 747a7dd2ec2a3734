# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path
from typing import get_args

import pytest

from backend.config import DeviceName
from backend.errors import SettingsError
from backend.training.command import portrait_parser, run_command, training_device, training_parser


def parsed(*options):
    parser = training_parser("What it does.", ["cpu", "gpu", "tiny"], work=Path("kept"), out=Path("model.safetensors"))
    return parser.parse_args(options)


def test_options_have_the_scripts_own_defaults():
    options = parsed()
    assert (options.work, options.out, options.preset) == (Path("kept"), Path("model.safetensors"), "cpu")
    assert not options.resume and parsed("--resume").resume
    with pytest.raises(SystemExit):
        parsed("--preset", "huge")


def test_scripts_that_draw_people_ask_for_assets_unless_they_can_do_without():
    named = portrait_parser("What it does.", work=Path("kept")).parse_args(["--assets", "assets"])
    assert (named.assets, named.work) == (Path("assets"), Path("kept"))
    with pytest.raises(SystemExit):
        portrait_parser("What it does.", work=Path("kept")).parse_args([])
    assert portrait_parser("What it does.", work=Path("kept"), needs_assets=False).parse_args([]).assets is None


def test_presets_for_the_cpu_stay_on_it():
    assert training_device(parsed("--preset", "tiny")).type == "cpu"
    assert training_device(parsed("--preset", "gpu", "--device", "cpu")).type == "cpu"


def test_every_line_of_the_log_tells_the_time(capsys):
    assert run_command("train", lambda log: log("step 3")) == 0
    assert re.fullmatch(r" +\d+ s  step 3\n", capsys.readouterr().out)
    clock = iter([100.0, 165.4])
    run_command("train", lambda log: log("step 4"), clock=lambda: next(clock))
    assert capsys.readouterr().out == "     65 s  step 4\n"


def test_any_device_can_be_asked_for():
    for device in get_args(DeviceName):
        assert parsed("--device", device).device == device
    with pytest.raises(SystemExit):
        parsed("--device", "abacus")


def test_what_was_foreseen_is_told_in_one_line_and_the_rest_is_not_hidden(capsys):
    def fail(log):
        raise SettingsError("Choose another folder.")

    assert run_command("train", fail) == 2
    assert capsys.readouterr().err == "train: Choose another folder.\n"
    with pytest.raises(ZeroDivisionError):
        run_command("train", lambda log: 1 / 0)
