# SPDX-License-Identifier: Apache-2.0
"""What the training scripts share: their common options, the clock before every line, errors in one line."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import torch

from backend.config import DeviceName
from backend.device import choose_device
from backend.errors import ProtomeError
from backend.progress import Log


def training_parser(
    description: str | None, presets: Iterable[str], *, work: Path, out: Path
) -> argparse.ArgumentParser:
    """A parser with the options of every script that trains networks.

    Args:
        description: The script's docstring.
        presets: Their names.
        work: Where intermediate results are kept unless another folder is named.
        out: The model's file unless another is named.
    """
    parser = script_parser(description)
    parser.add_argument("--preset", choices=presets, default="cpu")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoints")
    parser.add_argument("--work", type=Path, default=work, help="intermediate results and checkpoints")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--device", choices=get_args(DeviceName), help="where the networks are trained")
    return parser


def portrait_parser(description: str | None, *, work: Path, needs_assets: bool = True) -> argparse.ArgumentParser:
    """A parser with the options of every script that draws portraits of synthetic people.

    Args:
        description: The script's docstring.
        work: Where the training keeps its results unless another folder is named.
        needs_assets: Whether the script can do nothing without people.
    """
    parser = script_parser(description)
    add_assets(parser, is_needed=needs_assets)
    parser.add_argument("--work", type=Path, default=work, help="where train_starter.py keeps its results")
    return parser


def add_assets(parser: argparse.ArgumentParser, *, is_needed: bool = True) -> None:
    """The option that names the folder of all that synthetic people are made of."""
    parser.add_argument("--assets", type=Path, required=is_needed, help="folder with makehuman/ and ict_facekit/")


def training_device(options: argparse.Namespace) -> torch.device:
    """The device asked for; if none is, the preset `gpu` takes the best there is and all others the CPU.

    Raises:
        SettingsError: It does not exist.
    """
    return choose_device(options.device or ("auto" if options.preset == "gpu" else "cpu"))


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows the script's docstring as it stands."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def run_command(name: str, work: Callable[[Log], object], *, clock: Callable[[], float] = time.monotonic) -> int:
    """Run a script's work with a log that tells the time; the exit status is 2 where it failed as foreseen.

    Args:
        name: Of the script.
        work: Is given the log.
        clock: Seconds since any moment.
    """
    start = clock()

    def log(text: str) -> None:
        print(f"{clock() - start:7.0f} s  {text}", flush=True)

    try:
        work(log)
    except ProtomeError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0
