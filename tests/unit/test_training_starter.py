# SPDX-License-Identifier: Apache-2.0
import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import ModelError, OutputError
from backend.training.dressing import DressingShapes
from backend.training.patches import PatchConfig, Patches
from backend.training.starter import (
    MAPPING_SHARE,
    PALETTE_SHARE,
    SPACE_SHARE,
    Trainer,
    TrainingConfig,
    measure,
)
from tests.small_dataset import plain_heads, small_canonical
from tests.small_pictures import small_pictures
from tests.small_starter import small_generator

SHORT = TrainingConfig(steps=12, heads_per_step=3, points_per_head=64, warmup_steps=2)


@pytest.fixture(scope="module")
def canonical():
    return small_canonical()


@pytest.fixture(scope="module")
def heads():
    return plain_heads(6)


def trainer_in(folder, heads, canonical, config=SHORT):
    return Trainer(small_generator(bald=False), heads, canonical, config=config, folder=folder)


def weights_of(trainer):
    return {**trainer.generator.state_dict(), **{f"average {name}": value for name, value in trainer.average.items()}}


def test_training_lowers_the_error(heads, canonical, tmp_path):
    config = TrainingConfig(steps=200, heads_per_step=4, points_per_head=96, warmup_steps=5)
    trainer = trainer_in(tmp_path, heads, canonical, config)
    before = measure(trainer.generator, heads, canonical)
    trainer.run()
    after = measure(trainer.generator, heads, canonical)
    assert after["psnr_db"] > before["psnr_db"] + 1 and after["outer_mm"] < 0.7 * before["outer_mm"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(25, 201, 25))
    assert {"color", "outer", "rate"} <= set(lines[0])


def test_a_run_taken_up_again_ends_bit_for_bit_where_an_unbroken_one_does(heads, canonical, tmp_path):
    whole = trainer_in(tmp_path / "whole", heads, canonical)
    whole.run()
    broken = trainer_in(tmp_path / "broken", heads, canonical)
    broken.folder.mkdir()
    for _ in range(5):
        broken.next_step()
        broken.step += 1
    broken.save()
    again = trainer_in(tmp_path / "broken", heads, canonical)
    torch.rand(3)  # The run has its own source of chance.
    again.resume()
    assert again.step == 5
    again.run()
    expected = weights_of(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(again).items())


def test_a_finished_run_has_nothing_left_to_do(heads, canonical, tmp_path):
    trainer_in(tmp_path, heads, canonical).run()
    again = trainer_in(tmp_path, heads, canonical)
    again.resume()
    before = {name: value.clone() for name, value in weights_of(again).items()}
    again.run()
    assert again.step == SHORT.steps
    assert all(torch.equal(value, before[name]) for name, value in weights_of(again).items())


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(heads, canonical, tmp_path):
    trainer = trainer_in(tmp_path, heads, canonical)
    trainer.step = 4
    trainer.save()
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    trainer.points = torch.full_like(trainer.points, float("nan"))
    with pytest.raises(ModelError, match="diverged at step 4") as caught:
        trainer.run()
    assert caught.value.code == "training_diverged"
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    again = trainer_in(tmp_path, heads, canonical)
    again.resume()
    assert again.step == 4 and all(torch.isfinite(value).all() for value in weights_of(again).values())


def test_without_a_checkpoint_a_run_starts_at_the_beginning(heads, canonical, tmp_path):
    trainer = trainer_in(tmp_path / "new", heads, canonical)
    trainer.resume()
    assert trainer.step == 0


def test_a_damaged_checkpoint_is_a_model_error(heads, canonical, tmp_path):
    trainer = trainer_in(tmp_path, heads, canonical)
    trainer.save()
    file = tmp_path / "checkpoint.pt"
    whole = file.read_bytes()
    contents = {"cut": whole[: len(whole) // 2], "empty": b"", "garbage": b"no checkpoint" * 40}
    for content in contents.values():
        file.write_bytes(content)
        with pytest.raises(ModelError, match="delete it"):
            trainer_in(tmp_path, heads, canonical).resume()
    state = {"step": 3, "generator": trainer.generator.state_dict()}
    for incomplete in (state, {"step": 3}, {**state, "generator": {}}):
        torch.save(incomplete, file)
        with pytest.raises(ModelError, match="delete it"):
            trainer_in(tmp_path, heads, canonical).resume()


def test_the_rate_rises_holds_and_falls_to_a_thirtieth(heads, canonical, tmp_path):
    config = TrainingConfig(steps=1000, warmup_steps=10, decay_from=0.5, learning_rate=0.01)
    trainer = trainer_in(tmp_path, heads, canonical, config)
    rates = {}
    for step in (0, 4, 9, 300, 500, 750, 1000):
        trainer.step = step
        rates[step] = trainer.rate()
    assert [rates[step] for step in (0, 4, 9, 300, 500)] == pytest.approx([0.001, 0.005, 0.01, 0.01, 0.01])
    assert rates[750] == pytest.approx(0.01 / 30**0.5) and rates[1000] == pytest.approx(0.01 / 30)


def test_the_average_follows_the_weights(heads, canonical, tmp_path):
    trainer = trainer_in(tmp_path, heads, canonical)
    start = {name: value.clone() for name, value in trainer.average.items()}
    trainer.run()
    name = "decoder.last.bias"
    now, mean = trainer.generator.state_dict()[name], trainer.average[name]
    assert not torch.equal(mean, start[name])
    assert (mean - now).norm() < (start[name] - now).norm()


def test_batches_hold_points_of_their_own_heads(heads, canonical, tmp_path):
    trainer = trainer_in(tmp_path, heads, canonical)
    chosen = torch.tensor([4, 1])
    points, colors = trainer._batch(chosen)
    assert points.shape == (2, 64, 3) and abs(colors.shape[1] - round(64 * (1 - SPACE_SHARE))) <= 1
    for row, number in enumerate(chosen.tolist()):
        head = heads[number]
        known = {tuple(point): color for point, color in zip(head.points, head.colors, strict=True)}
        for point, color in zip(points[row, : colors.shape[1]].numpy().astype(np.float16), colors[row], strict=True):
            np.testing.assert_allclose(color.numpy() * 255, known[tuple(point)], atol=1e-3)
    assert points.abs().max() < 0.25


def test_a_perfect_generator_measures_as_such(canonical, monkeypatch):
    """Truth in place of the decoder: no error in distance, and colour right to a byte."""
    heads = plain_heads(2)
    generator = small_generator()
    answers = iter(heads)

    def decode(planes, points):
        head = next(answers)
        target = DressingShapes(canonical).outer([head.dressing], points)
        return target, torch.from_numpy(head.colors).float()[None] / 255 + 0.01

    monkeypatch.setattr(generator, "decode", decode)
    scores = measure(generator, heads, canonical)
    assert scores == {"psnr_db": pytest.approx(40, abs=0.01), "outer_mm": 0}


def test_a_run_in_pieces_ends_bit_for_bit_where_an_unbroken_one_does(heads, canonical, tmp_path):
    config = replace(SHORT, steps=5)
    whole = trainer_in(tmp_path / "whole", heads, canonical, config)
    whole.run()
    for number in range(5):
        piece = trainer_in(tmp_path / "pieces", heads, canonical, config)
        piece.resume()
        assert piece.step == number
        piece.run(seconds=0)
    expected = weights_of(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(piece).items())


def test_a_run_can_stop_at_a_step(heads, canonical, tmp_path):
    trainer_in(tmp_path, heads, canonical).run(until=3)
    again = trainer_in(tmp_path, heads, canonical)
    again.resume()
    assert again.step == 3
    again.run(until=0)
    assert again.step == 3


def test_lines_that_were_logged_after_the_checkpoint_are_logged_once(heads, canonical, tmp_path):
    config = TrainingConfig(steps=75, heads_per_step=1, points_per_head=16, checkpoint_s=1e9)
    trainer = trainer_in(tmp_path, heads, canonical, config)
    trainer.run(until=25)
    saved = (tmp_path / "checkpoint.pt").read_bytes()
    trainer.run(until=50)
    (tmp_path / "checkpoint.pt").write_bytes(saved)
    again = trainer_in(tmp_path, heads, canonical, config)
    again.resume()
    again.run(until=0)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2  # To look at a run in progress changes nothing.
    again.run()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [25, 50, 75]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")])
def test_a_full_disk_keeps_the_checkpoint_before(heads, canonical, tmp_path, monkeypatch, error):
    trainer = trainer_in(tmp_path, heads, canonical)
    trainer.run(until=2)
    kept = (tmp_path / "checkpoint.pt").read_bytes()

    def save(state, path):
        path.write_bytes(b"half a checkpoint")
        raise error

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OutputError, match="Free some space"):
        trainer.run(until=3)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    assert not list(tmp_path.glob("*.partial"))


def test_of_every_batch_the_first_heads_have_pictures_and_none_is_in_it_twice(heads, canonical, tmp_path):
    patches = Patches(small_pictures(), PatchConfig(heads_per_step=2, patch_px=8))
    generator = small_generator(bald=False)
    config = TrainingConfig(steps=9, heads_per_step=4)
    trainer = Trainer(generator, heads, canonical, config=config, folder=tmp_path, patches=patches)
    batches = torch.stack([trainer._choose() for _ in range(40)])
    assert batches.shape == (40, 4) and (batches[:, :2] < 3).all()
    assert all(len(set(batch.tolist())) == 4 for batch in batches)
    assert set(batches[:, 2:].flatten().tolist()) == set(range(6))


@pytest.mark.parametrize("asked, batch", [(9, 4), (3, 2)])
def test_no_more_heads_are_looked_at_than_have_pictures_or_are_in_the_batch(heads, canonical, tmp_path, asked, batch):
    patches = Patches(small_pictures(), PatchConfig(heads_per_step=asked, patch_px=8))
    config = TrainingConfig(steps=1, heads_per_step=batch, points_per_head=32)
    generator = small_generator(bald=False)
    trainer = Trainer(generator, heads, canonical, config=config, folder=tmp_path, patches=patches)
    assert len(trainer._choose()) == batch and trainer.seen == min(3, batch)
    trainer.run()


def test_palette_and_mapping_move_slowly(heads, canonical, tmp_path):
    trainer = trainer_in(tmp_path, heads, canonical)
    shares = {id(one): group["share"] for group in trainer.optimizer.param_groups for one in group["params"]}
    generator = trainer.generator
    assert len(shares) == len(list(generator.parameters()))
    assert {shares[id(one)] for one in generator.palette.parameters()} == {PALETTE_SHARE}
    assert {shares[id(one)] for one in generator.mapping.parameters()} == {MAPPING_SHARE}
    assert {shares[id(one)] for one in generator.decoder.parameters()} == {1.0}
