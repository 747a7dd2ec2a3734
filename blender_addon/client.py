# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker as a child process, spoken to without waiting and without threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import pipe
from .errors import WorkerEnded
from .protocol import Event, decode_event, encode_request

# What belongs to Blender's own Python and libraries must not reach another Python.
DROPPED_PREFIXES = ("PYTHON", "LD_", "DYLD_", "BLENDER_", "VIRTUAL_ENV", "CONDA_", "OCIO")
LOG_LIMIT_BYTES = 2_000_000
WRITE_BUDGET_S = 0.01  # Longest a call may spend on a full pipe, so that Blender keeps its frame rate.
FULL_PIPE_PAUSE_S = 0.001
END_WAIT_S = 2.0


@dataclass(frozen=True)
class Command:
    """How a child process is started.

    Args:
        arguments: Program and arguments.
        folder: Working directory.
        log: File that its stderr is appended to.
        environment: Additions to the cleaned environment.
    """

    arguments: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str]


def clean_environment(additions: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what only fits Blender's own Python."""
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(DROPPED_PREFIXES)}
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **additions}


def start_child(command: Command, *, has_input: bool) -> subprocess.Popen[bytes]:
    """Start a child with non-waiting pipes, its stderr in the log; one without input leads a process group.

    Raises:
        WorkerEnded: The program is missing or may not be run.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    too_long = command.log.exists() and command.log.stat().st_size > LOG_LIMIT_BYTES
    with command.log.open("wb" if too_long else "ab") as log:
        try:
            process = subprocess.Popen(
                command.arguments,
                cwd=command.folder,
                env=clean_environment(command.environment),
                stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=not has_input,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            program = command.arguments[0]
            raise WorkerEnded(f"{program} cannot be started ({error.strerror}). Set up Protome again.") from error
    if process.stdout:
        pipe.stop_waiting(process.stdout.fileno(), process.stdin.fileno() if process.stdin else None)
    return process


def end_child(process: subprocess.Popen[bytes], wait_s: float) -> None:
    """Close the child's input, which ends a worker; kill it if it has not gone after ``wait_s`` seconds."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End a child without input and the programs it has started."""
    if process.poll() is None:
        if sys.platform == "win32":
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True)
        else:
            os.killpg(process.pid, signal.SIGTERM)
    end_child(process, END_WAIT_S)


class Worker:
    """One ``python -m backend worker`` process.

    Raises:
        WorkerEnded: It cannot be started.
    """

    def __init__(self, command: Command) -> None:
        self.process = start_child(command, has_input=True)
        self.started_s = time.monotonic()
        self._last_id = 0
        self._outgoing = bytearray()
        self._incoming = bytearray()

    def send(self, method: str, params: dict[str, object]) -> int:
        """Queue a request and return its id; ``receive`` moves the bytes."""
        self._last_id += 1
        self._outgoing += encode_request(self._last_id, method, params)
        return self._last_id

    @property
    def has_outgoing(self) -> bool:
        """Whether bytes still wait for room in the pipe."""
        return bool(self._outgoing)

    def receive(self) -> list[Event]:
        """Move what bytes can be moved without waiting; returns the events that are complete.

        Raises:
            WorkerEnded: The process has gone, and no event is left.
            ProtocolError: The worker wrote something else than events.
        """
        self._write()
        is_open = self._read()
        events = []
        while (end := self._incoming.find(b"\n")) >= 0:
            line = bytes(self._incoming[:end])
            del self._incoming[: end + 1]
            events.append(decode_event(line))
        if not is_open and not events:
            raise WorkerEnded(self._why_ended())
        return events

    def _write(self) -> None:
        stdin = self.process.stdin
        until_s = time.monotonic() + WRITE_BUDGET_S
        while stdin and self._outgoing and time.monotonic() < until_s:
            try:
                written = pipe.write_some(stdin.fileno(), self._outgoing)
            except OSError:  # The worker no longer reads; ``_read`` finds its end.
                self._outgoing.clear()
                return
            del self._outgoing[:written]
            if not written:
                time.sleep(FULL_PIPE_PAUSE_S)

    def _read(self) -> bool:
        """False when the worker has closed its side."""
        stdout = self.process.stdout
        try:
            while stdout and (data := pipe.read_available(stdout.fileno())):
                self._incoming += data
        except EOFError:
            return False
        return True

    def _why_ended(self) -> str:
        try:
            status = self.process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            return "The worker closed its pipe. Try again; the log says more."
        if status == -9:
            return "The worker was killed, often for lack of memory. Close other programs, then try again."
        return f"The worker stopped unexpectedly (status {status}). Try again; the log says more."

    def close(self, wait_s: float = END_WAIT_S) -> None:
        """End the process, gently at first."""
        end_child(self.process, wait_s)
