# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import torch

from backend.errors import ModelError
from backend.training.starter import Trainer, TrainingConfig, measure, start_palette
from tests.small_dataset import plain_heads, small_canonical
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
    config = TrainingConfig(steps=100, heads_per_step=4, points_per_head=96, warmup_steps=5)
    trainer = trainer_in(tmp_path, heads, canonical, config)
    before = measure(trainer.generator, heads, canonical)
    trainer.run()
    after = measure(trainer.generator, heads, canonical)
    assert after["psnr_db"] > before["psnr_db"] + 1 and after["outer_mm"] < 0.7 * before["outer_mm"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [25, 50, 75, 100]
    assert {"color", "outer", "rate"} <= set(lines[0])


def test_a_run_taken_up_again_ends_bit_for_bit_where_an_unbroken_one_does(heads, canonical, tmp_path):
    whole = trainer_in(tmp_path / "whole", heads, canonical)
    whole.run()
    broken = trainer_in(tmp_path / "broken", heads, canonical)
    broken.folder.mkdir()
    for _ in range(5):
        broken._one_step()
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
        rates[step] = trainer._rate()
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


def test_the_palette_starts_at_the_heads_own_colors():
    """Skin, hair and top stand in it, for heads whose colours follow from their description."""
    heads = plain_heads(60, points=2400)
    generator = small_generator(parts=12)
    start_palette(generator, heads)
    z = torch.from_numpy(np.stack([head.z for head in heads]))
    palette = generator.planes(generator.map(z)).palette
    skin = torch.from_numpy(np.stack([head.colors[0] for head in heads])).float() / 255
    for part, truth in enumerate((skin, 1 - skin, 1 - skin)):
        assert (palette[:, part] - truth).abs().mean() < 0.05
    darker, lighter = palette[:, 3:6], palette[:, 6:9]
    assert (darker < palette[:, :3]).all() and (lighter > palette[:, :3]).all()
    torch.testing.assert_close(palette[:, 9:], torch.full_like(palette[:, 9:], 0.5))


def test_batches_hold_points_of_their_own_heads(heads, canonical, tmp_path):
    trainer = trainer_in(tmp_path, heads, canonical)
    chosen = torch.tensor([4, 1])
    points, colors, worn = trainer._batch(chosen)
    assert points.shape == (2, 64, 3) and colors.shape == (2, 48, 3) and worn.shape == (2, 48)
    for row, number in enumerate(chosen.tolist()):
        skin = torch.from_numpy(heads[number].colors[0]).float() / 255
        expected = torch.where(worn[row, :, None], 1 - skin, skin)
        torch.testing.assert_close(colors[row], expected, rtol=0, atol=0.005)
    assert points.abs().max() < 0.25


def test_a_perfect_generator_measures_as_such(canonical, monkeypatch):
    """Truth in place of the decoder: no error in distance, and colour right to a byte."""
    heads = plain_heads(2)
    generator = small_generator()
    answers = iter(heads)

    def decode(planes, points):
        head = next(answers)
        from backend.training.dataset import outer_distance

        target = outer_distance(
            [head.dressing], torch.from_numpy(canonical.hair), torch.from_numpy(canonical.tops), points
        )
        return target, torch.from_numpy(head.colors).float()[None] / 255 + 0.01

    monkeypatch.setattr(generator, "decode", decode)
    scores = measure(generator, heads, canonical)
    assert scores == {"psnr_db": pytest.approx(40, abs=0.01), "outer_mm": 0}
    assert np.isfinite(list(scores.values())).all()
