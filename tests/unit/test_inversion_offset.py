# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.inversion.offset import _detail


def test_the_detail_of_white_noise_is_its_spread():
    noise = 0.7 * torch.randn((1, 3, 8, 64, 64), generator=torch.Generator().manual_seed(0))
    assert _detail(noise) == pytest.approx(0.7, rel=0.02)
    assert _detail(noise + 5.0) == pytest.approx(_detail(noise), rel=1e-4)


def test_large_even_regions_that_differ_are_hardly_any_detail():
    planes = torch.zeros(1, 3, 8, 64, 64)
    planes[..., 32:] = 10.0
    # One step of 10 in 63 along rows, none along columns.
    expected = 10 / (2 * 63) ** 0.5 / 2**0.5
    assert _detail(planes) == pytest.approx(expected, rel=1e-5) and expected < planes.std() / 5
