# SPDX-License-Identifier: Apache-2.0
"""The encoder's training on drawn eggs: it learns, it resumes, it says what is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import ModelError, SettingsError
from backend.training import encoder_supply
from backend.training.encoder import EncoderTrainer, EncoderTraining, encoder_config, measure
from backend.training.encoder_examples import ExampleMaker
from backend.training.encoder_supply import ShardSchedule, Supply
from tests.small_examples import PLAN, write_small_shards
from tests.small_starter import small_starter

SHORT = EncoderTraining(
    steps=6, portraits_per_step=3, fields_per_step=2, warmup_steps=2, log_steps=2, measure_portraits=2
)
SIZE = 32


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_supply, "STATISTICS_PORTRAITS", 8)
        patch.setattr(encoder_supply, "WAIT_S", 0.01)
        yield


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def shards(starter, tmp_path_factory):
    return write_small_shards(tmp_path_factory.mktemp("shards"), starter)


def supply_of(starter, shards, config=SHORT, *, workers=0, is_clean=False):
    maker = ExampleMaker(starter.template, shards, PLAN, SIZE, config.seed, is_clean=is_clean)
    schedule = ShardSchedule(held_out=1, first=1, total=len(PLAN.shards), steps=config.steps)
    count = config.portraits_per_step
    return Supply(maker, schedule, count=count, workers=workers, is_rendering=lambda: False)


def sizes_of(starter):
    return replace(encoder_config(starter, SIZE), channels=(16, 24, 32), blocks=(0, 1, 1), hidden=96)


def trainer_of(starter, shards, folder, config=SHORT, **options):
    folder.mkdir(exist_ok=True)
    return EncoderTrainer(
        starter, supply_of(starter, shards, config, **options), config=config, folder=folder, sizes=sizes_of(starter)
    )


def state_of(trainer):
    return {**trainer.encoder.state_dict(), **{f"average {name}": value for name, value in trainer.average.items()}}


def quiet(_):
    pass


def test_two_portraits_are_learnt_by_heart(starter, shards, tmp_path):
    config = replace(SHORT, steps=120, learning_rate=2e-3, decay_from=0.7)
    trainer = trainer_of(starter, shards, tmp_path, config, is_clean=True)
    batch = trainer.supply.maker.batch(0, range(1, 2), 2)
    first = trainer.one_step(batch)
    for _ in range(119):
        trainer.step += 1
        last = trainer.one_step(batch)
    assert last["shape_mm"] < 0.25 * first["shape_mm"]
    assert last["z"] < 0.25 * first["z"]
    assert last["landmarks"] < 0.3 * first["landmarks"]
    assert last["field"] < 0.5 * first["field"]
    # Knowing its error, it doubts less.
    assert last["doubt"] < first["doubt"] - 0.5


def test_the_plane_offset_learns_colors_that_the_description_lacks(starter, shards, tmp_path):
    trainer = trainer_of(starter, shards, tmp_path, replace(SHORT, steps=80, learning_rate=3e-3), is_clean=True)
    batch = trainer.supply.maker.batch(0, range(1, 2), 2)
    batch["clean"] = 255 - batch["clean"]
    batch["photo"] = batch["clean"]
    for _ in range(80):
        trainer.step += 1
        losses = trainer.one_step(batch)
    assert losses["seen_after"] < 0.7 * losses["seen_before"]
    assert losses["lift_kept"] < 0.1  # Hair and clothes stay where they are, to 2 mm.


def test_a_run_taken_up_again_ends_bit_for_bit_where_an_unbroken_one_does(starter, shards, tmp_path):
    whole = trainer_of(starter, shards, tmp_path / "whole")
    whole.train(quiet)
    broken = trainer_of(starter, shards, tmp_path / "broken")
    for batch in broken.supply.batches(range(3)):
        broken.one_step(batch)
        broken.step += 1
    broken.save()
    torch.rand(3)
    again = trainer_of(starter, shards, tmp_path / "broken")
    again.resume()
    assert again.step == 3
    again.train(quiet)
    expected = state_of(whole)
    assert all(torch.equal(value, expected[name]) for name, value in state_of(again).items())
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6] and {"shape_mm", "rate"} <= set(lines[0])


def test_other_processes_make_the_same_batches(starter, shards):
    here = list(supply_of(starter, shards).batches(range(2)))
    there = list(supply_of(starter, shards, workers=1).batches(range(2)))
    for one, other in zip(here, there, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(starter, shards, tmp_path):
    trainer = trainer_of(starter, shards, tmp_path)
    trainer.step = 4
    trainer.save()
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    batch = trainer.supply.maker.batch(0, range(1, 2), 2)
    batch["clean"] = batch["clean"].astype(np.float32) * np.nan
    before = {name: value.clone() for name, value in trainer.encoder.state_dict().items()}
    with pytest.raises(ModelError, match="diverged at step 4") as caught:
        trainer.one_step(batch)
    assert caught.value.code == "training_diverged"
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    assert all(torch.equal(value, before[name]) for name, value in trainer.encoder.state_dict().items())


def test_a_damaged_checkpoint_or_one_of_another_run_is_a_model_error(starter, shards, tmp_path):
    trainer = trainer_of(starter, shards, tmp_path)
    trainer.save()
    file = tmp_path / "checkpoint.pt"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint" * 40):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="delete it") as caught:
            trainer.resume()
        assert caught.value.code == "checkpoint_damaged"
    file.write_bytes(whole)
    with pytest.raises(ModelError, match="other settings"):
        trainer_of(starter, shards, tmp_path, replace(SHORT, steps=9)).resume()


def test_portraits_of_another_starter_are_refused(shards, tmp_path):
    other = small_starter()
    other = replace(other, template=replace(other.template, shape=other.template.shape[:2]))
    with pytest.raises(ModelError, match="4 numbers of shape, the starter has 2"):
        trainer_of(other, shards, tmp_path)


def test_a_shard_that_nobody_renders_is_told(starter, tmp_path):
    with pytest.raises(ModelError, match="Rendering the portraits") as caught:
        supply_of(starter, tmp_path).first()
    assert caught.value.code == "worker_lost"


def test_held_out_shards_are_never_trained_on_and_all_others_are_in_the_end():
    schedule = ShardSchedule(held_out=2, first=3, total=10, steps=100)
    assert schedule.trained_on(0) == range(2, 5)
    sizes = [len(schedule.trained_on(step)) for step in range(100)]
    assert sizes == sorted(sizes) and sizes[60:] == [8] * 40
    assert all(schedule.trained_on(step).start == 2 for step in range(100))
    with pytest.raises(SettingsError, match="people"):
        ShardSchedule(held_out=2, first=3, total=4, steps=100)


def test_measures_of_the_average_head_are_one(starter, shards, tmp_path):
    """An untrained encoder tells the average head, which is the yardstick."""
    trainer = trainer_of(starter, shards, tmp_path)
    torch.nn.init.zeros_(trainer.encoder.answer.weight)
    torch.nn.init.zeros_(trainer.encoder.answer.bias)
    scores = measure(trainer.encoder.eval(), starter, trainer.known, trainer.supply.held_out(3))
    assert scores["shape_of_average"] == scores["z_of_average"] == scores["expression_of_average"] == 1
    assert scores["seen_before"] == scores["seen_after"] and scores["turn_deg"] > 0
