# SPDX-License-Identifier: Apache-2.0
"""A models folder of one's own, and the published files that most tests begin with."""

import argparse

import pytest

from backend import cli_models
from tests.checkpoints import network_file, triplanenet_state


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path):
    """A published generator with its options, in the kind of file that is read fastest."""
    return network_file(tmp_path)


@pytest.fixture(scope="session")
def triplanenet() -> dict:
    return triplanenet_state()


@pytest.fixture
def models(capsys):
    """Runs a `models` command that succeeds, and gives what it prints."""

    def run(*words: str) -> str:
        parser = argparse.ArgumentParser()
        cli_models.add_commands(parser)
        options = parser.parse_args(words)
        assert options.run(options) == 0
        return capsys.readouterr().out

    return run
