# SPDX-License-Identifier: Apache-2.0
"""No published number goes unread: every fixture is one that some parity test has asked for."""

import importlib
from pathlib import Path

import pytest

from tests.unit.parity import ASKED_FOR, FOLDER


def test_every_fixture_has_a_test():
    stored = set(FOLDER.glob("*.json"))
    if not stored:
        pytest.skip(f"no parity numbers in {FOLDER} (set PROTOME_PARITY_DIR)")
    for path in Path(__file__).parent.glob("test_*.py"):
        if "tests.unit.parity import" in path.read_text(encoding="utf-8"):
            importlib.import_module(f"tests.unit.{path.stem}")
    unread = sorted(path.name for path in stored - ASKED_FOR)
    assert not unread, f"no test handles the target of {unread}"
