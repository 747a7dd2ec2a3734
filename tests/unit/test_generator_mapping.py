# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.generator.mapping import MappingNetwork, normalize_power


def make(**changes):
    torch.manual_seed(1)
    network = MappingNetwork(**({"z_dim": 8, "c_dim": 5, "w_dim": 6, "num_ws": 4} | changes))
    network.w_avg.normal_()
    return network.requires_grad_(False)


def test_rows_have_unit_power():
    x = normalize_power(torch.randn(3, 7) * 50)
    torch.testing.assert_close(x.square().mean(-1), torch.ones(3))


def test_only_the_direction_of_z_matters():
    network, z, c = make(), torch.randn(3, 8), torch.randn(3, 5)
    torch.testing.assert_close(network(z, c), network(3 * z, c), rtol=1e-4, atol=1e-5)


def test_every_row_is_the_same_code():
    ws = make()(torch.randn(3, 8), torch.randn(3, 5))
    assert ws.shape == (3, 4, 6)
    assert torch.equal(ws, ws[:, :1].expand_as(ws))


def test_truncation_moves_the_first_rows_towards_the_average():
    network, z, c = make(), torch.randn(3, 8), torch.randn(3, 5)
    ws = network(z, c)
    assert torch.equal(network(z, c, truncation=0.0), network.w_avg.expand_as(ws))
    half = network(z, c, truncation=0.5, cutoff=2)
    torch.testing.assert_close(half[:, :2], (ws[:, :2] + network.w_avg) / 2)
    assert torch.equal(half[:, 2:], ws[:, 2:])


def test_a_mapping_may_lack_z_or_condition():
    assert make(c_dim=0)(torch.randn(2, 8)).shape == (2, 4, 6)
    assert make(z_dim=0)(None, torch.randn(2, 5)).shape == (2, 4, 6)
    with pytest.raises(ValueError, match="needs z"):
        make(z_dim=0, c_dim=0)


def test_a_missing_or_unexpected_condition_is_refused():
    with pytest.raises(ValueError, match="condition of size 5"):
        make()(torch.randn(2, 8))
    with pytest.raises(ValueError, match="condition of size 0"):
        make(c_dim=0)(torch.randn(2, 8), torch.randn(2, 5))
