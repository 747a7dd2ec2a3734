# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.inversion.sampled_model import SampledModel


class Scaled(SampledModel[torch.nn.Linear]):
    """Three heads on the network's one axis, at -1, 0 and 4 times its weight; each code has two rows."""

    def sample_ws(self):
        places = torch.tensor([-1.0, 0.0, 4.0])[:, None]
        return self.network(places)[:, None].expand(-1, 2, -1)


@pytest.fixture
def model():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 3.0)
    return Scaled(network)


def test_average_and_spread_are_those_of_the_sample(model):
    torch.testing.assert_close(model.mean_ws, torch.full((1, 2, 1), 3.0))
    assert model.ws_std == pytest.approx(3 * ((4 + 1 + 9) / 3) ** 0.5)
    assert not model.mean_ws.requires_grad


def test_a_copy_changes_alone_and_keeps_what_is_usual(model):
    copy = model.copied()
    with torch.no_grad():
        copy.network.weight.fill_(7.0)
    assert model.network.weight.item() == 3.0
    assert torch.equal(copy.mean_ws, model.mean_ws) and copy.ws_std == model.ws_std
