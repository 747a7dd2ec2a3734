# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.inversion.perception import (
    SSIM_LUMINANCE,
    contextual_loss,
    feature_distance,
    patch_features,
    picture_distance,
    structural_similarity,
)


def picture(seed=0, size_px=32):
    return torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_picture_is_at_no_distance_from_itself():
    assert picture_distance(picture(), picture()).item() == pytest.approx(0, abs=1e-6)


def test_more_change_is_more_distance():
    other = picture(1)
    distances = [picture_distance(torch.lerp(picture(), other, share), picture()).item() for share in (0.1, 0.3, 1.0)]
    assert distances == sorted(distances) and distances[0] > 0.05


def test_blur_costs_although_the_mean_colour_stays():
    blurred = torch.nn.functional.avg_pool2d(picture(), 3, stride=1, padding=1, count_include_pad=False)
    assert picture_distance(blurred, picture()) > 2 * picture_distance(picture() + 0.05, picture())


def test_structural_similarity_of_flat_pictures_is_the_formula():
    a, b = torch.full((1, 1, 16, 16), 1.5), torch.full((1, 1, 16, 16), 0.5)
    expected = (2 * 1.5 * 0.5 + SSIM_LUMINANCE) / (2.25 + 0.25 + SSIM_LUMINANCE)
    torch.testing.assert_close(structural_similarity(a, b), torch.full((1, 1, 10, 10), expected))
    assert structural_similarity(picture() + 1, picture() + 1).min().item() == pytest.approx(1, abs=1e-4)
    assert structural_similarity(picture() + 1, 1 - picture()).mean() < -0.5


def test_a_users_features_are_asked_at_their_size_and_range():
    asked = []

    def features(image):
        asked.append((image.shape[-1], image.min().item(), image.max().item()))
        return image.flatten(1)

    a, b = torch.full((2, 3, 16, 16), -1.0), torch.full((2, 3, 16, 16), 1.0)
    distance = feature_distance(features, size_px=8)(a, b)
    assert asked == [(8, 0.0, 0.0), (8, 255.0, 255.0)]
    assert distance.item() == pytest.approx(255**2 * 3 * 8 * 8)


def test_the_contextual_loss_is_blind_to_where():
    features = torch.randn(1, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(25, generator=torch.Generator().manual_seed(1))
    moved = features.flatten(2)[..., order].reshape(features.shape)
    same = contextual_loss(features, features)
    torch.testing.assert_close(contextual_loss(moved, features), same)
    assert contextual_loss(torch.randn(1, 6, 5, 5), features) > same + 0.3


def test_the_contextual_loss_has_a_slope_everywhere():
    features = torch.randn(1, 6, 5, 5, requires_grad=True)
    contextual_loss(features, torch.zeros(1, 6, 5, 5)).backward()
    assert features.grad.isfinite().all()


def test_patches_are_neighbourhoods_at_half_the_resolution():
    image = picture(size_px=12)
    features = patch_features(image)
    assert features.shape == (1, 27, 4, 4)
    small = torch.nn.functional.avg_pool2d(image, 2)
    torch.testing.assert_close(features[0, :, 1, 2].reshape(3, 3, 3), small[0, :, 1:4, 2:5])
