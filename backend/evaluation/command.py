# SPDX-License-Identifier: Apache-2.0
"""What the measuring scripts share: their common options, and people who are made when they are first asked for."""

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path

from backend.errors import SettingsError
from backend.progress import Log
from backend.training.build import CPU
from backend.training.command import portrait_parser
from backend.training.portrait_source import PortraitSource, open_source


def measuring_parser(description: str | None, *, work: Path) -> argparse.ArgumentParser:
    """A parser with the options of every script that measures held-out heads, real photos or both.

    Args:
        description: The script's docstring.
        work: Where the training keeps its results unless another folder is named.
    """
    parser = portrait_parser(description, work=work, needs_assets=False)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--photos", type=Path, help="folder with real photos")
    return parser


def held_out_source(assets: Path | None, work: Path, log: Log) -> Callable[[], PortraitSource]:
    """A function that opens the source of held-out heads when it is first called: that may take minutes.

    Args:
        assets: None where none are named; the function then raises a SettingsError that asks for them.
        work: Where the training keeps its results.
        log: Hears of every step.
    """

    @cache
    def source() -> PortraitSource:
        if assets is None:
            raise SettingsError("Held-out heads need --assets, the folder with makehuman/ and ict_facekit/.")
        return open_source(assets, work, preset=CPU, log=log)

    return source
