# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.camera import Camera, look_at_camera, rays
from backend.config import SurfaceConfig
from backend.inversion.view import BELOW_CHIN, FAR_SAMPLES, NEAR_SAMPLES, photo_rays, render_rays
from backend.surface import extract_surface
from backend.template import Deformation
from tests.small_starter import SIDE, egg_distance, small_generator, small_template

SIZE = 48
CAMERA = look_at_camera(yaw_deg=25, pitch_deg=10, distance=1.2, focal=3.6)


@pytest.fixture(scope="module")
def template():
    return small_template(subdivisions=3)


@pytest.fixture(scope="module")
def generator():
    return small_generator().requires_grad_(False)


@pytest.fixture(scope="module")
def heads(generator):
    return generator.planes(generator.map(torch.ones((1, 5))))


@pytest.fixture(scope="module")
def guide(generator):
    config = SurfaceConfig(resolution=73, faces=8000, smoothing_steps=2)
    return extract_surface(generator.field(generator.map(torch.ones((1, 5)))), config)


def pictures(size=96):
    """A photo that says its own pixels: red grows to the right, green downwards."""
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    image = torch.stack([place.expand(size, size), place[:, None].expand(size, size), torch.zeros((size, size))])[None]
    return {"image": image, "mask": torch.ones((1, 1, size, size)), "coverage": torch.ones((1, 1, size, size))}


def view_of(generator, template, guide, *, offset=(0.0, 0.0, 0.0), camera=CAMERA, chin=1.0, **changes):
    offsets = np.tile(np.array(offset), (len(template.vertices), 1))
    deformation = Deformation(template, offsets, SIDE)
    return photo_rays(generator, deformation, guide, camera, **pictures() | changes, chin=chin, size_px=SIZE)


@pytest.fixture(scope="module")
def view(generator, template, guide):
    return view_of(generator, template, guide)


def true_first_hits(index):
    """Where rays of the egg's picture meet the exact egg, by small steps; and how near they come to it."""
    origin, directions = rays(CAMERA, SIZE)
    along = np.arange(0.9, 1.5, 0.0005)
    points = origin + along[:, None] * directions.reshape(-1, 1, 3)[index]
    distance = egg_distance(points)
    first = (distance < 0).argmax(1)
    return points[np.arange(len(first)), first], distance.min(1)


def test_samples_lie_on_their_rays_in_order(view):
    origin, directions = rays(CAMERA, SIZE)
    arm = view.points.numpy() - origin
    along = (arm * directions.reshape(-1, 1, 3)[view.index]).sum(-1)
    across = np.linalg.norm(arm - along[..., None] * directions.reshape(-1, 1, 3)[view.index], axis=-1)
    assert across.max() < 1e-6
    np.testing.assert_allclose(np.diff(along, axis=1), view.spacing.numpy()[:, :-1], atol=1e-6)
    assert (view.spacing > 0).all()
    assert view.points.shape[1] == NEAR_SAMPLES + FAR_SAMPLES


def test_the_body_is_that_of_the_samples(view):
    found, truth = view.body.numpy(), egg_distance(view.points.numpy())
    near = np.abs(truth) < 0.02
    np.testing.assert_allclose(found[near], truth[near], atol=0.0016)


def test_every_ray_knows_its_pixel(view):
    row, column = view.index // SIZE, view.index % SIZE
    np.testing.assert_allclose(view.target.color[:, 0].numpy(), (column + 0.5) / SIZE, atol=1e-5)
    np.testing.assert_allclose(view.target.color[:, 1].numpy(), (row + 0.5) / SIZE, atol=1e-5)


def test_opacity_is_one_inside_the_silhouette_and_zero_outside(generator, heads, view):
    _, opacity, outer = render_rays(generator, heads, view)
    _, nearest = true_first_hits(view.index)
    assert (opacity.numpy()[nearest < -0.02] > 0.95).all()
    assert (opacity.numpy()[nearest > 0.02] < 0.05).all()
    assert (np.abs(nearest) < 0.02).any() and outer.shape == view.body.shape
    inside, outside = (nearest < -0.001), (nearest > 0.003)
    assert (opacity.numpy()[inside] > 0.5).mean() > 0.98 and (opacity.numpy()[outside] < 0.5).mean() > 0.98


def test_the_color_is_the_decoders_where_the_ray_meets_the_skin(generator, heads, view):
    color, _, _ = render_rays(generator, heads, view)
    points, nearest = true_first_hits(view.index)
    clear = nearest < -0.02
    _, truth = generator.decode(heads, torch.from_numpy(points[None]).float())
    assert truth.std(1).max() > 0.01
    np.testing.assert_allclose(color.numpy()[clear], truth[0].numpy()[clear], atol=0.02)


def test_nothing_is_seen_beyond_the_canonical_cube(generator, heads, view):
    outside = view.points.abs().amax(-1) > SIDE / 2
    assert (view.wall[outside] > 0).all()
    assert (view.wall[view.points.abs().amax(-1) < SIDE / 2 - 0.005] < 0).all()


def test_a_head_that_moves_with_its_camera_looks_the_same(generator, template, guide, view):
    offset = np.array([0.01, -0.005, 0.02])
    cam2world = CAMERA.cam2world.copy()
    cam2world[:3, 3] += offset
    moved = view_of(generator, template, guide, offset=offset, camera=Camera(cam2world, CAMERA.intrinsics))
    both = np.intersect1d(moved.index, view.index)
    assert len(both) > 0.9 * len(view.index)
    chosen = [torch.from_numpy(np.searchsorted(one.index, both)) for one in (moved, view)]
    hit = (view.body[chosen[1]] < 0).any(1)
    gap = (moved.points[chosen[0]] - view.points[chosen[1]])[hit].norm(dim=-1)
    assert gap.median() < 0.001


def test_rays_that_cannot_meet_the_head_are_left_out(generator, template, guide):
    empty = torch.zeros((1, 1, 96, 96))
    found = view_of(generator, template, guide, mask=empty)
    assert 0.1 * SIZE**2 < len(found.index) < 0.9 * SIZE**2
    everywhere = view_of(generator, template, guide)
    assert len(everywhere.index) == SIZE**2


def test_where_the_photo_shows_nothing_is_no_trust(generator, template, guide):
    coverage = torch.ones((1, 1, 96, 96))
    coverage[..., :48] = 0
    found = view_of(generator, template, guide, coverage=coverage)
    assert torch.equal(found.target.weight, torch.from_numpy(found.index % SIZE >= SIZE // 2).float())
    assert not found.target.outline[found.target.weight == 0].any()


def test_below_the_chin_the_silhouette_counts_for_little(generator, template, guide):
    found = view_of(generator, template, guide, chin=0.6)
    row = (found.index // SIZE + 0.5) / SIZE
    assert (found.target.outline[torch.from_numpy(row < 0.6)] == 1).all()
    torch.testing.assert_close(found.target.outline[torch.from_numpy(row > 0.65)].amax(), torch.tensor(BELOW_CHIN))
