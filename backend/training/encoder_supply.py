# SPDX-License-Identifier: Apache-2.0
"""Batches for training the encoder, made by processes beside it, from shards that another process still renders.

Which shards a step draws from depends on the step alone, so that a run taken up again sees the same pictures.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from backend.errors import ModelError, SettingsError
from backend.training.encoder_examples import Example, ExampleMaker
from backend.training.portrait_shards import is_done, write_shard
from backend.training.portrait_source import PortraitSource

AHEAD = 4  # Batches under way.
ALL_BY = 0.6  # Share of the run by which every shard takes part.
WAIT_S = 1.0
FIRST_STEP, HELD_OUT_STEP = 10**9, 10**9 + 1  # Numbers of batches outside the run.
STATISTICS_PORTRAITS = 256


@dataclass(frozen=True)
class ShardSchedule:
    """Which shards take part when.

    Args:
        held_out: Shards that are never trained on, the first ones.
        first: Shards that must be there at the start.
        total: All shards, with those held out.
        steps: Of the run.
    """

    held_out: int
    first: int
    total: int
    steps: int

    def __post_init__(self) -> None:
        if min(self.held_out, self.first) < 1 or self.held_out + self.first > self.total:
            raise SettingsError("There are too few people to hold some of them out. Ask for more people.")

    def trained_on(self, step: int) -> range:
        """Shards that a step draws from."""
        start = self.held_out + self.first
        grown = int((self.total - start) * min(1.0, step / (ALL_BY * self.steps)))
        return range(self.held_out, min(start + grown, self.total))


class Supply:
    """Batches in order.

    Args:
        maker: Makes examples.
        schedule: Which shards take part when.
        count: Portraits in a batch.
        workers: Processes that make them; 0 makes them here.
        is_rendering: Whether shards that are missing will come.
    """

    def __init__(
        self,
        maker: ExampleMaker,
        schedule: ShardSchedule,
        *,
        count: int,
        workers: int,
        is_rendering: Callable[[], bool],
    ) -> None:
        self.maker, self.schedule, self.count, self.workers = maker, schedule, count, workers
        self.is_rendering = is_rendering

    def first(self) -> Example:
        """A batch for statistics."""
        shards = self.schedule.trained_on(0)
        self._wait_for(shards)
        return self.maker.batch(FIRST_STEP, shards, STATISTICS_PORTRAITS)

    def held_out(self, count: int) -> Example:
        """Portraits of people that are never trained on."""
        shards = range(self.schedule.held_out)
        self._wait_for(shards)
        return self.maker.batch(HELD_OUT_STEP, shards, count)

    def batches(self, steps: range) -> Iterator[Example]:
        """The batches of steps.

        Raises:
            ModelError: A shard is missing or damaged, or a process was ended from outside.
        """
        if not self.workers:
            for step in steps:
                yield self._make(step)
            return
        with ProcessPoolExecutor(self.workers, get_context("spawn"), _keep, (self.maker,)) as pool:
            waiting: deque[Future[Example]] = deque()
            try:
                for step in steps:
                    shards = self._shards(step)
                    waiting.append(pool.submit(_make_kept, step, shards, self.count))
                    if len(waiting) > AHEAD + self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BrokenProcessPool as error:
                raise ModelError(
                    "A process that prepared portraits was ended from outside, mostly because the memory ran out. "
                    "Start again with --resume and fewer --workers.",
                    code="worker_lost",
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _make(self, step: int) -> Example:
        return self.maker.batch(step, self._shards(step), self.count)

    def _shards(self, step: int) -> range:
        shards = self.schedule.trained_on(step)
        self._wait_for(shards)
        return shards

    def _wait_for(self, shards: range) -> None:
        """Wait until all of the shards are there."""
        for shard in shards:
            path = self.maker.folder / f"{self.maker.plan.name(shard)}.npz"
            while not path.exists():
                if not self.is_rendering():
                    raise ModelError(
                        f"Rendering the portraits {path.name} failed; what went wrong stands above. Start again with "
                        "--resume.",
                        code="worker_lost",
                    )
                time.sleep(WAIT_S)


@contextmanager
def rendering(source: PortraitSource, maker: ExampleMaker, workers: int) -> Iterator[Callable[[], bool]]:
    """Render the shards that are missing, the first ones first, in processes of their own.

    Yields:
        Whether all of them are still at it, or have done their part.
    """
    context = get_context("spawn")
    shares = [maker.plan.shards[number::workers] for number in range(workers)]
    processes = [context.Process(target=_render, args=(source, maker, share), daemon=True) for share in shares]
    for process in processes:
        process.start()
    try:
        yield lambda: all(process.is_alive() or process.exitcode == 0 for process in processes)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _render(source: PortraitSource, maker: ExampleMaker, shards: range) -> None:
    torch.set_num_threads(1)
    for shard in shards:
        if not is_done(maker.folder, maker.plan, shard):
            write_shard(source, maker.plan, shard, maker.folder)


_kept: list[ExampleMaker] = []  # Of this process.


def _keep(maker: ExampleMaker) -> None:
    torch.set_num_threads(1)
    _kept[:] = [maker]


def _make_kept(step: int, shards: range, count: int) -> Example:
    return _kept[0].batch(step, shards, count)
