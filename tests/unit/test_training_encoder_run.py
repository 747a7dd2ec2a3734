# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import ModelError
from backend.training.encoder_run import EncoderRun
from backend.training.run import RunConfig
from tests.resumed import check_resumes

CONFIG = RunConfig(steps=6, learning_rate=0.1, warmup_steps=1)


class Line(EncoderRun[torch.nn.Linear]):
    """Learns a sum from points that follow from the step's number."""

    def __init__(self, folder, config=CONFIG):
        torch.manual_seed(config.seed)
        super().__init__(torch.nn.Linear(3, 1), "line", config=config, folder=folder)

    def next_step(self):
        points = torch.from_numpy(np.random.default_rng(self.step).normal(size=(8, 3))).float()
        loss = (self.network(points)[:, 0] - points.sum(1)).square().mean()
        self.descend(loss)
        return {"loss": loss.item()}


def test_taken_up_again_it_ends_bit_for_bit_where_an_unbroken_one_does(tmp_path):
    check_resumes(Line, tmp_path)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    Line(tmp_path).save()
    with pytest.raises(ModelError) as caught:
        Line(tmp_path, replace(CONFIG, steps=5)).resume()
    assert caught.value.code == "checkpoint_damaged"


def test_the_trained_network_has_the_average_and_the_run_goes_on(tmp_path):
    line = Line(tmp_path)
    line.run(until=3)
    network = line.trained()
    assert torch.equal(network.weight, line.average["weight"]) and not torch.equal(network.weight, line.network.weight)
    assert not network.training and not network.weight.requires_grad
    kept = network.weight.clone()
    line.run()
    assert torch.equal(network.weight, kept)
