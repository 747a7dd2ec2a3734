# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.inversion.noise import exploration_std, noise_loss, normalize_noise


def test_exploration_falls_to_nothing_at_three_quarters():
    assert exploration_std(2.0, 0.0) == pytest.approx(0.1)
    assert exploration_std(2.0, 0.375) == pytest.approx(0.025)
    assert exploration_std(2.0, 0.75) == exploration_std(2.0, 1.0) == 0


def test_constant_noise_costs_1_along_each_axis_and_scale():
    assert noise_loss([torch.ones(32, 32)]).item() == pytest.approx(2 * 3)  # 32, 16 and 8 pixels.
    assert noise_loss([torch.ones(4, 4), torch.ones(8, 8)]).item() == pytest.approx(2 * 2)


def test_stripes_correlate_along_themselves_only():
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(8, 8)
    assert noise_loss([stripes]).item() == pytest.approx(2)  # -1 across, squared, and 1 along.
    assert noise_loss([torch.roll(stripes, 1, 0)]).item() == pytest.approx(2)


def test_white_noise_costs_little():
    noise = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    assert noise_loss([noise]).item() < 0.05


def test_normalized_noise_has_mean_0_and_variance_1():
    noise = torch.rand(16, 16) * 5 + 3
    normalize_noise([noise])
    assert noise.mean().item() == pytest.approx(0, abs=1e-6)
    assert noise.square().mean().item() == pytest.approx(1, rel=1e-5)
