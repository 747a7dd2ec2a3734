# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from backend.errors import SettingsError
from backend.evaluation import command
from backend.evaluation.command import held_out_source, measuring_parser
from backend.training.portrait_source import PortraitSource


def test_only_the_results_folder_must_be_named():
    parser = measuring_parser("What it does.", work=Path("kept"))
    options = parser.parse_args(["--out", "results"])
    assert (options.out, options.work, options.assets, options.photos) == (Path("results"), Path("kept"), None, None)
    with pytest.raises(SystemExit):
        parser.parse_args([])


def test_people_are_made_once_and_not_before_they_are_asked_for(monkeypatch):
    asked = []

    def opened(assets, work, **_):
        asked.append((assets, work))
        return object.__new__(PortraitSource)

    monkeypatch.setattr(command, "open_source", opened)
    source = held_out_source(Path("assets"), Path("kept"), print)
    assert not asked
    assert source() is source()
    assert asked == [(Path("assets"), Path("kept"))]


def test_without_assets_the_first_who_asks_for_people_is_told():
    with pytest.raises(SettingsError, match="need --assets"):
        held_out_source(None, Path("kept"), print)()
