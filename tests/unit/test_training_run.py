# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch

from backend.errors import ModelError
from backend.training.run import Run, RunConfig, descend

CONFIG = RunConfig(steps=6, learning_rate=0.1, warmup_steps=1, decay_from=0.99, log_steps=4)


class Slide(Run):
    """One weight that rolls down a slope; the loss of some step may be given."""

    def __init__(self, folder, config=CONFIG, losses=None):
        self.only = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.only.weight)
        super().__init__(
            self.only, torch.optim.SGD(self.only.parameters(), lr=1.0), config=config, folder=folder, clip=9
        )
        self.losses = losses or {}

    @property
    def weight(self):
        return self.only.weight.item()

    def next_step(self):
        loss = self.losses.get(self.step, lambda weight: weight.sum())(self.only.weight)
        self.descend(loss)
        return {"height": loss.item()}

    def state(self):
        return {"only": self.only.state_dict()}

    def restore(self, state):
        self.only.load_state_dict(state["only"])


def test_it_takes_its_steps_tells_of_them_and_saves(tmp_path):
    slide, said = Slide(tmp_path), []
    slide.run(say=said.append)
    assert slide.is_over and slide.weight == pytest.approx(1 - 6 * 0.1, abs=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 6] and said == [{"height": line["height"]} for line in lines]
    again = Slide(tmp_path)
    again.resume()
    assert again.is_over and again.weight == slide.weight


def test_the_average_lags_half_of_the_way_after_its_half_life(tmp_path):
    config = RunConfig(steps=1000, learning_rate=1.0, average_half_steps=5.0, decay_from=0.99)
    slide = Slide(tmp_path, config)
    slide.step = 500  # Long after the start, when it lags less.
    slide.average["weight"] = torch.zeros((1, 1))
    with torch.no_grad():
        slide.only.weight.fill_(8.0)
    for _ in range(5):
        slide.descend(slide.only.weight.sum() * 0)
    assert slide.average["weight"].item() == pytest.approx(4.0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda weight: weight.sum() * float("nan"),
        lambda weight: weight.sum() * float("inf"),
        lambda weight: (weight - 1).abs().sqrt().sum(),  # A finite loss whose gradient is not.
    ],
)
def test_no_number_in_loss_or_gradient_changes_nothing_and_keeps_the_checkpoint(tmp_path, loss):
    slide = Slide(tmp_path)
    slide.run(until=2)
    saved = (tmp_path / "checkpoint.pt").read_bytes()
    with torch.no_grad():
        slide.only.weight.fill_(1.0)
    average = slide.average["weight"].clone()
    slide.losses = {2: loss}
    with pytest.raises(ModelError, match="diverged at step 2") as caught:
        slide.run()
    assert caught.value.code == "training_diverged"
    assert slide.weight == 1 and torch.equal(slide.average["weight"], average)
    assert (tmp_path / "checkpoint.pt").read_bytes() == saved


def test_groups_have_their_share_of_the_rate(tmp_path):
    slide = Slide(tmp_path)
    slide.optimizer.param_groups[0]["share"] = 0.5
    slide.descend(slide.only.weight.sum())
    assert slide.weight == pytest.approx(1 - 0.05)


def test_a_steep_gradient_is_clipped():
    weight = torch.nn.Linear(1, 1, bias=False)
    before = weight.weight.item()
    descend(torch.optim.SGD(weight.parameters(), lr=1.0), 1000 * weight.weight.sum(), clip=2.0, step=0)
    assert weight.weight.item() == pytest.approx(before - 2, abs=1e-4)


def test_only_what_the_optimiser_moves_counts_for_the_clip():
    still, moved = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    descend(torch.optim.SGD([moved], lr=1.0), (1000 * still + moved).sum(), clip=2.0, step=0)
    assert moved.item() == pytest.approx(0, abs=1e-5)


def test_something_is_called_after_every_step_that_is_made(tmp_path):
    slide, seen = Slide(tmp_path), []
    slide.run(until=3, after_step=lambda: seen.append(slide.step))
    assert seen == [1, 2, 3]


def test_a_checkpoint_without_its_parts_is_named(tmp_path):
    torch.save({"step": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="delete it") as caught:
        Slide(tmp_path).resume()
    assert caught.value.code == "checkpoint_damaged"
