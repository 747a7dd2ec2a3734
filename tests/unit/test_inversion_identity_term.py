# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.encoder.arcface import ArcFace
from backend.encoder.config import ArcFaceConfig, BodyConfig
from backend.inversion.identity_term import IDENTITY_WEIGHT, with_identity
from backend.inversion.perception import picture_distance


@pytest.fixture(scope="module")
def network() -> ArcFace:
    torch.manual_seed(0)
    small = ArcFaceConfig(BodyConfig(stem=16, widths=(16, 16, 16, 16)), features=8, side_px=32)
    return ArcFace(small).eval().requires_grad_(False)


def test_the_same_picture_costs_nothing(network):
    picture = torch.rand(1, 3, 128, 128)
    total = with_identity(picture_distance, network)(picture, picture)
    torch.testing.assert_close(total, torch.tensor(0.0), atol=1e-5, rtol=0)


def test_the_angle_between_two_persons_is_added_to_the_distance(network):
    first, second = torch.rand(2, 1, 3, 128, 128) * 2 - 1
    added = with_identity(picture_distance, network)(first, second) - picture_distance(first, second)
    cosine = (network(first) * network(second)).sum()
    torch.testing.assert_close(added, IDENTITY_WEIGHT * (1 - cosine), atol=1e-5, rtol=1e-4)
    assert added > 1e-4


def test_only_the_first_picture_is_moved(network):
    first, second = torch.rand(2, 1, 3, 128, 128).requires_grad_().unbind()
    first.retain_grad()
    second.retain_grad()
    with_identity(lambda image, target: image.new_zeros(()), network)(first, second).backward()
    assert first.grad.abs().max() > 0
    assert second.grad is None or not second.grad.any()
