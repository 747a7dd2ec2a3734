# SPDX-License-Identifier: Apache-2.0
import os
from functools import partial
from operator import mul

import pytest

from backend.errors import ModelError
from backend.training.crowd import in_parallel


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers):
    assert list(in_parallel(partial(mul, 3), range(20), workers=workers, chunk=3)) == [3 * one for one in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_process_is_prepared_before_its_first_task(workers, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    here = in_parallel(os.path.basename, [""], workers=workers, prepare=os.chdir, given=(str(tmp_path),))
    assert list(here) == [""]
    where = list(in_parallel(os.path.abspath, ["file"], workers=workers, prepare=os.chdir, given=(str(tmp_path),)))
    assert where == [str(tmp_path / "file")]


def test_an_error_in_a_process_arrives():
    with pytest.raises(ValueError, match="invalid literal"):
        list(in_parallel(int, ["1", "one"], workers=2))


def test_a_process_that_is_lost_is_a_model_error():
    with pytest.raises(ModelError, match="fewer --workers") as caught:
        list(in_parallel(os._exit, [3], workers=2))
    assert caught.value.code == "worker_lost"
