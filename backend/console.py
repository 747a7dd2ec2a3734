# SPDX-License-Identifier: Apache-2.0
"""What a person or a program sees of a running command: progress and one sentence, and nothing from libraries."""

import faulthandler
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TextIO

from backend import __version__
from backend.progress import Progress, Report
from backend.protocol import Event, JobProgress, event_line

ProgressStyle = Literal["auto", "json", "none"]


@dataclass(frozen=True)
class Console:
    """The streams that a command was started with, for nobody but the command.

    Args:
        stdout: For results.
        stderr: For progress and sentences.
        captured: What everybody else has printed.
    """

    stdout: TextIO
    stderr: TextIO
    captured: IO[bytes]

    def report(self, style: ProgressStyle, job_id: int) -> Report:
        """A function that shows a job's progress; only JSON, which has the worker's messages, tells the id."""
        if style == "none":
            return lambda _: None
        if style == "json":
            return lambda progress: self.send(JobProgress(job_id, progress.stage, progress.fraction, progress.eta_s))
        return _updating_line(self.stderr) if self.stderr.isatty() else _line_per_stage(self.stderr)

    def send(self, event: Event) -> None:
        """Write a message of the worker protocol to stdout."""
        self.stdout.write(event_line(event).decode("ascii"))
        self.stdout.flush()

    def say(self, sentence: str) -> None:
        """Write a line to stderr."""
        self.stderr.write(f"protome: {sentence}\n")
        self.stderr.flush()

    def clear_line(self) -> None:
        """Remove an updating line, so that the next output starts at the left."""
        if self.stderr.isatty():
            self.stderr.write(f"\r{' ' * (_columns() - 1)}\r")
            self.stderr.flush()

    def save_log(self) -> Path:
        """Keep what everybody else has printed, such as a traceback, in a file for a bug report.

        Raises:
            OSError: There is no place for it.
        """
        sys.stderr.flush()
        handle, name = tempfile.mkstemp(prefix="protome-", suffix=".log")
        with os.fdopen(handle, "wb") as log:
            log.write(f"Protome {__version__}, Python {sys.version}, {platform.platform()}\n".encode())
            log.write(f"{sys.argv}\n\n".encode("utf-8", "backslashreplace"))
            self.captured.seek(0)
            shutil.copyfileobj(self.captured, log)
        return Path(name)


@contextmanager
def quiet_console() -> Iterator[Console]:
    """Keep this process's streams for the command and capture what others print, from Python or from below it."""
    with (
        _open_capture() as captured,
        _duplicate(sys.stdout, 1) as stdout,
        _duplicate(sys.stderr, 2) as stderr,
    ):
        faulthandler.enable(stderr)
        os.dup2(captured.fileno(), 1)
        os.dup2(captured.fileno(), 2)
        try:
            yield Console(stdout, stderr, captured)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            faulthandler.disable()


def _open_capture() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # A full disk must not keep anyone from reading that it is full.
        return Path(os.devnull).open("r+b")


def _duplicate(stream: TextIO, handle: int) -> TextIO:
    stream.flush()
    return os.fdopen(os.dup(handle), "w", encoding=stream.encoding, errors="backslashreplace")


def _updating_line(stream: TextIO) -> Report:
    def report(progress: Progress) -> None:
        text = f"{progress.stage} {progress.fraction:4.0%}{_eta_text(progress.eta_s)}"
        stream.write(f"\r{text[: _columns() - 1]:<{_columns() - 1}}")
        stream.flush()

    return report


def _line_per_stage(stream: TextIO) -> Report:
    last_stage = ""

    def report(progress: Progress) -> None:
        nonlocal last_stage
        if progress.stage != last_stage:
            last_stage = progress.stage
            stream.write(f"{progress.stage} {progress.fraction:4.0%}{_eta_text(progress.eta_s)}\n")
            stream.flush()

    return report


def _eta_text(eta_s: float | None) -> str:
    if eta_s is None:
        return ""
    minutes, seconds = divmod(round(eta_s), 60)
    return f", about {minutes} min {seconds} s left" if minutes else f", about {seconds} s left"


def _columns() -> int:
    return shutil.get_terminal_size().columns
