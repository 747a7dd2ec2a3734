# SPDX-License-Identifier: Apache-2.0
"""The process behind the add-on: requests on stdin, events on stdout, everything else on stderr.

Three threads: the main one runs jobs one after the other, one reads requests so that ping, cancel and the end of
stdin are seen during a job, and one loads torch while nobody waits for it.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from backend import __version__, jobs
from backend.catalogue import installed_models
from backend.errors import Cancelled, ProtomeError
from backend.progress import Progress
from backend.protocol import (
    PROTOCOL,
    Cancel,
    Device,
    Done,
    Event,
    Failed,
    Invert,
    JobProgress,
    Ping,
    ProtocolError,
    Ready,
    Request,
    Resynthesize,
    Shutdown,
    Sliders,
    event_line,
    parse_request,
)
from backend.staging import remove_leftovers

POLL_S = 0.1

FindDevice = Callable[[], str]


def main(load_pipeline: jobs.LoadPipeline = jobs.load_pipeline, find_device: FindDevice = jobs.find_device) -> None:
    """Serve the add-on on this process's stdin and stdout; their end is the process's end."""
    requests, events = take_standard_streams()
    Worker(events, load_pipeline, find_device).serve(requests)


def take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the protocol: what libraries print goes to stderr, and what they read is empty."""
    requests = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    sys.stdout.flush()
    os.dup2(2, 1)
    return requests, events


class Worker:
    """Serves requests until a shutdown request or the end of the requests, either of which ends the process.

    Args:
        events: Receives one event a line.
        load_pipeline: Called in the background at the start, and again by every job; quick the second time.
        find_device: Name of the device that ``auto`` stands for; called once, after ``load_pipeline``.
    """

    def __init__(self, events: BinaryIO, load_pipeline: jobs.LoadPipeline, find_device: FindDevice) -> None:
        self._events = events
        self._load_pipeline = load_pipeline
        self._find_device = find_device
        self._warm_up = threading.Thread(target=self._load_in_background, daemon=True, name="warm up")
        self._waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._state = threading.Lock()  # Held to read or change the two below.
        self._open: dict[int, Request] = {}  # Jobs that wait or run.
        self._cancelled: set[int] = set()

    def serve(self, requests: BinaryIO) -> None:
        """Announce the worker and run jobs; does not return."""
        self._send(Ready(PROTOCOL, __version__, None, installed_models()))
        self._warm_up.start()
        threading.Thread(target=self._read, args=(requests,), daemon=True, name="read").start()
        while True:
            self._run(self._waiting.get())

    def _read(self, requests: BinaryIO) -> None:
        """What the reading thread does."""
        for line in requests:
            try:
                self._receive(parse_request(line))
            except ProtocolError as error:
                self._send(Failed(error.request_id, error.code, str(error)))
        self._end()

    def _receive(self, request: Request) -> None:
        match request.params:
            case Ping():
                self._send(Done(request.id, {}))
            case Cancel(job):
                with self._state:
                    job_found = job in self._open
                    if job_found:
                        self._cancelled.add(job)
                self._send(Done(request.id, {"job_found": job_found}))
            case Shutdown():
                self._send(Done(request.id, {}))
                self._end()
            case _:
                with self._state:
                    self._open[request.id] = request
                self._waiting.put(request)

    def _run(self, request: Request) -> None:
        outcome = jobs.attempt(lambda: self._job(request))
        with self._state:
            del self._open[request.id]
            self._cancelled.discard(request.id)
        if isinstance(outcome, jobs.Failure):
            self._send(Failed(request.id, outcome.code, outcome.message))
        else:
            self._send(Done(request.id, outcome))

    def _job(self, request: Request) -> jobs.Result:
        def report(progress: Progress) -> None:
            self._check_cancelled(request)
            self._send(JobProgress(request.id, progress.stage, progress.fraction, progress.eta_s))

        def load_pipeline() -> jobs.Pipeline:
            while self._warm_up.is_alive():
                self._check_cancelled(request)
                self._warm_up.join(POLL_S)
            return self._load_pipeline()

        self._check_cancelled(request)
        match request.params:
            case Sliders():
                return jobs.list_sliders(request.params)
            case Invert():
                return jobs.invert_photo(request.params, report, load_pipeline=load_pipeline)
            case Resynthesize():
                return jobs.resynthesize_head(request.params, report, load_pipeline=load_pipeline)
            case _:
                raise TypeError(f"{type(request.params).__name__} is not a job")

    def _check_cancelled(self, request: Request) -> None:
        with self._state:
            if request.id in self._cancelled:
                raise Cancelled("Cancelled.")

    def _load_in_background(self) -> None:
        """What the loading thread does; a job that needs what is missing here will fail with the same words."""
        try:
            self._load_pipeline()
            self._send(Device(self._find_device()))
        except ProtomeError as error:
            sys.stderr.write(f"protome: {error}\n")

    def _send(self, event: Event) -> None:
        line = event_line(event)
        with self._sending:
            try:
                _write_all(self._events, line)
            except OSError:
                self._end()  # Nobody reads any more.

    def _end(self) -> None:
        with self._state:
            folders = [jobs.output_folders(request.params) for request in self._open.values()]
        remove_leftovers(set().union(*folders))
        sys.stderr.flush()
        os._exit(0)


def _write_all(stream: BinaryIO, line: bytes) -> None:
    """An unbuffered pipe may take a long line in pieces."""
    rest = memoryview(line)
    while rest:
        rest = rest[stream.write(rest) :]
