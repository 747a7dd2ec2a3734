# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional

from backend.generator.config import SuperResolutionConfig
from backend.generator.superresolution import SuperResolution


def make(kind, **changes):
    torch.manual_seed(5)
    config = SuperResolutionConfig(**({"kind": kind, "input_resolution": 8, "channels": (6, 4)} | changes))
    return SuperResolution(config, features=5, w_dim=7).requires_grad_(False)


@pytest.mark.parametrize(("kind", "factor"), [("8XDC", 4), ("8X", 4), ("4X", 2), ("2X", 2)])
def test_the_picture_has_the_size_of_its_kind(kind, factor):
    network, features = make(kind), torch.randn(1, 5, 8, 8)
    assert network(features[:, :3], features, torch.randn(1, 4, 7)).shape == (1, 3, 8 * factor, 8 * factor)


def test_only_the_last_style_row_matters():
    network, features, ws = make("8XDC"), torch.randn(2, 5, 8, 8), torch.randn(2, 4, 7)
    changed = torch.cat([torch.randn(2, 3, 7), ws[:, 3:]], dim=1)
    assert torch.equal(network(features[:, :3], features, ws), network(features[:, :3], features, changed))


def test_another_input_size_is_resized_first():
    network, features, ws = make("8X"), torch.randn(1, 5, 12, 12), torch.randn(1, 4, 7)
    small = functional.interpolate(features, (8, 8), mode="bilinear", antialias=True)
    expected = network(small[:, :3], small, ws)
    torch.testing.assert_close(network(features[:, :3], features, ws), expected)


def test_4x_takes_no_larger_image():
    features = torch.randn(1, 5, 12, 12)
    with pytest.raises(ValueError, match="at most 8 pixels"):
        make("4X")(features[:, :3], features, torch.randn(1, 4, 7))


def test_features_of_zero_leave_the_enlarged_image():
    network, rgb = make("8XDC", clamp=0.0), torch.randn(1, 3, 8, 8)
    image = network(rgb, torch.zeros(1, 5, 8, 8), torch.randn(1, 4, 7))
    expected = functional.interpolate(rgb, scale_factor=2, mode="bilinear")
    expected = functional.interpolate(expected, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(image[:, :, 4:-4, 4:-4], expected[:, :, 4:-4, 4:-4])
