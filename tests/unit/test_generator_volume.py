# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch

from backend.generator.config import RenderConfig
from backend.generator.volume import (
    Rays,
    activate_density,
    coarse_depths,
    composite,
    fine_depths,
    render_rays,
    segment_weights,
)

CONFIG = RenderConfig(near=1.0, far=3.0, coarse_samples=24, fine_samples=24)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random_samples():
    depths = torch.rand(2, 5, 16).sort(dim=-1).values + 1
    return depths, torch.randn(2, 5, 16) * 3, torch.rand(2, 5, 16, 4)


def parallel_rays(count):
    """Rays along -z from z = 2, spread in x; the limits are z = 1 and z = -1."""
    origins = torch.zeros(1, count, 3)
    origins[..., 0], origins[..., 2] = torch.linspace(-1, 1, count), 2.0
    directions = torch.tensor([0.0, 0.0, -1.0]).expand(1, count, 3)
    return Rays(origins, directions, torch.ones(1, count), torch.full((1, count), 3.0))


def wall(points):
    """Solid behind z = 0.25 for x above 0, nothing elsewhere; green."""
    is_solid = (points[..., 2] < 0.25) & (points[..., 0] > 0)
    return torch.where(is_solid, 500.0, -500.0), torch.tensor([0.0, 1.0, 0.0]).expand_as(points)


def test_weights_add_up_to_the_light_absorbed():
    depths, raw, _ = random_samples()
    density = activate_density((raw[..., 1:] + raw[..., :-1]) / 2)
    absorbed = 1 - torch.exp(-(density * depths.diff(dim=-1)).sum(-1))
    torch.testing.assert_close(segment_weights(depths, raw).sum(-1), absorbed)


def test_a_composite_is_the_weighted_mean_of_segments():
    depths, raw, features = random_samples()
    weights = segment_weights(depths, raw)[..., None]
    expected = (weights * (features[:, :, 1:] + features[:, :, :-1]) / 2).sum(2)
    middle = (depths[..., 1:] + depths[..., :-1]) / 2
    found, depth, opacity = composite(depths, raw, features)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(opacity, weights.sum((2, 3)))
    torch.testing.assert_close(depth, (weights[..., 0] * middle).sum(-1) / opacity)


def test_the_order_of_samples_does_not_matter():
    depths, raw, features = random_samples()
    order = torch.randperm(16)
    shuffled = composite(depths[..., order], raw[..., order], features[:, :, order])
    for found, expected in zip(shuffled, composite(depths, raw, features), strict=True):
        torch.testing.assert_close(found, expected)


def test_even_fog_absorbs_by_its_thickness():
    raw = torch.tensor(0.3)
    # The samples lie in the middle of their steps, so the fog begins and ends half a step later.
    rendering = render_rays(
        lambda points: (raw.expand(points.shape[:2]), torch.full_like(points, 0.5)), parallel_rays(3), CONFIG
    )
    absorbed = 1 - torch.exp(-activate_density(raw) * 2.0)
    torch.testing.assert_close(rendering.opacity, absorbed.expand(1, 3), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(rendering.features, (0.5 * absorbed).expand(1, 3, 3), rtol=1e-3, atol=1e-3)


def test_a_wall_is_seen_where_it_is():
    rendering = render_rays(wall, parallel_rays(8), CONFIG)
    torch.testing.assert_close(rendering.opacity, torch.tensor([[0.0] * 4 + [1.0] * 4]))
    assert (rendering.depth[:, 4:] - 1.75).abs().max() < 2 / 23
    torch.testing.assert_close(rendering.features[:, 4:], torch.tensor([0.0, 1.0, 0.0]).expand(1, 4, 3))


def test_fine_samples_sharpen_a_wall():
    def error(config):
        return (render_rays(wall, parallel_rays(8), config).depth[:, 4:] - 1.75).abs().max()

    assert error(CONFIG) < 0.7 * error(replace(CONFIG, fine_samples=0))


def test_an_empty_ray_has_the_largest_depth_sampled():
    rendering = render_rays(wall, parallel_rays(8), CONFIG)
    farthest = coarse_depths(torch.ones(1, 1), torch.full((1, 1), 3.0), CONFIG.coarse_samples).max()
    torch.testing.assert_close(rendering.depth[:, :4], farthest.expand(1, 4))


@pytest.mark.parametrize("points_per_chunk", [1, 100, 1000])
def test_chunks_change_nothing(points_per_chunk):
    def field(points):
        return 4 * torch.sin(9 * points).sum(-1), torch.sin(points)

    whole = render_rays(field, parallel_rays(8), CONFIG)
    parts = render_rays(field, parallel_rays(8), replace(CONFIG, points_per_chunk=points_per_chunk))
    wall_whole = render_rays(wall, parallel_rays(8), CONFIG)
    wall_parts = render_rays(wall, parallel_rays(8), replace(CONFIG, points_per_chunk=points_per_chunk))
    for one, other in ((whole, parts), (wall_whole, wall_parts)):
        torch.testing.assert_close(one.features, other.features)
        torch.testing.assert_close(one.depth, other.depth)
        torch.testing.assert_close(one.opacity, other.opacity)


def test_injected_samples_follow_their_rays_through_chunks():
    jitter, u = torch.rand(1, 8, CONFIG.coarse_samples), torch.rand(1, 8, CONFIG.fine_samples)
    whole = render_rays(wall, parallel_rays(8), CONFIG, jitter=jitter, u=u)
    parts = render_rays(wall, parallel_rays(8), replace(CONFIG, points_per_chunk=100), jitter=jitter, u=u)
    torch.testing.assert_close(whole.depth, parts.depth)


def test_coarse_depths_without_jitter_run_from_near_to_far():
    near, far = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])
    depths = coarse_depths(near, far, 5, jitter=torch.zeros(1, 2, 5))
    torch.testing.assert_close(depths[0, 0], torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]))
    inverse = 1 / coarse_depths(near, far, 5, jitter=torch.zeros(1, 2, 5), disparity=True)
    torch.testing.assert_close(inverse.diff(dim=-1), inverse.diff(dim=-1)[..., :1].expand(1, 2, 4))
    torch.testing.assert_close(inverse[0, 1, [0, -1]], torch.tensor([0.5, 0.2]))


def test_fine_depths_gather_at_the_weight():
    depths = torch.linspace(0, 1, 21).expand(1, 1, 21)
    weights = torch.zeros(1, 1, 20)
    weights[..., 10] = 1.0
    fine = fine_depths(depths, weights, torch.linspace(0, 1, 100).expand(1, 1, 100))
    assert (fine.diff(dim=-1) >= 0).all()
    is_near = (fine - 0.525).abs() < 0.1
    assert is_near.float().mean() > 0.85


def test_gradients_reach_the_field_but_not_the_fine_depths():
    raw = torch.randn(1, 4, 32, requires_grad=True)

    def field(points):
        return raw[:, :, 0].repeat_interleave(points.shape[1] // 4, dim=1), points

    render_rays(field, parallel_rays(4), CONFIG).opacity.sum().backward()
    assert raw.grad is not None
    assert (raw.grad[..., 0] > 0).all()


def test_an_empty_ray_has_no_depth_and_a_finite_slope():
    depths, raw, features = random_samples()
    raw[:, 0] = -1000.0
    raw.requires_grad_(True)
    _, depth, opacity = composite(depths, raw, features)
    assert (opacity[:, 0] == 0).all() and depth[:, 0].isnan().all()
    depth.nan_to_num(2.0).sum().backward()
    assert raw.grad.isfinite().all() and raw.grad[:, 1:].abs().sum() > 0
