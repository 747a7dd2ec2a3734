# SPDX-License-Identifier: Apache-2.0
"""Independent tasks on several processor cores."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

import torch

from backend.errors import ModelError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    workers: int,
    prepare: Callable[..., None] | None = None,
    given: tuple[object, ...] = (),
    chunk: int = 1,
) -> Iterator[Result]:
    """Results in the order of the tasks, the same for any number of workers.

    Args:
        work: A function of a module, so that other processes find it.
        tasks: What it is called with.
        workers: Processes; 1 works in this one.
        prepare: Called once in every process before its first task.
        given: Its arguments.
        chunk: Tasks handed over at a time.

    Raises:
        ModelError: A process ended without a word, mostly for want of memory.
    """
    if workers <= 1:
        if prepare:
            prepare(*given)
        yield from map(work, tasks)
        return
    # Spawned, not forked: a fork copies torch's threads in whatever state they are.
    with ProcessPoolExecutor(workers, get_context("spawn"), _alone, (prepare, given)) as pool:
        try:
            yield from pool.map(work, tasks, chunksize=chunk)
        except BrokenProcessPool as error:
            raise ModelError(
                "A process that made training data was ended from outside, mostly because the memory ran out. "
                "Start again with fewer --workers; what is done already is kept.",
                code="worker_lost",
            ) from error


def _alone(prepare: Callable[..., None] | None, given: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    if prepare:
        prepare(*given)
