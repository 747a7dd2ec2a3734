# SPDX-License-Identifier: Apache-2.0
"""Pictures of the small starter's egg against a slow, dense rendering."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.camera import look_at_camera
from backend.generator.rays import camera_rays, cross_cube
from backend.generator.starter import HeadPlanes, ray_weights
from backend.inversion.cameras import cameras_of
from backend.inversion.method import Head, Model
from backend.inversion.starter_heads import StarterHeads
from backend.inversion.starter_rendering import union_distance
from backend.inversion.starter_space import HeadSpace
from backend.template import Deformation
from tests.small_starter import AXES, SIDE, small_starter

SIZE = 16
DENSE = 700


def heads_of(starter, *, expression=(0.0, 0.0, 0.0), still=False):
    template = starter.template
    offsets = np.zeros_like(template.vertices) if still else template.offsets(np.ones(4), np.array(expression))
    return StarterHeads(
        starter.generator, HeadSpace.of(starter.generator, Deformation(template, offsets, SIDE)), starter.candidates
    )


def cameras(yaw_deg=-15.0, pitch_deg=5.0):
    return cameras_of(look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=1.2, focal=3.0))


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def model(starter):
    return heads_of(starter, expression=(0.4, 0.9, 0.0))


@pytest.fixture(scope="module")
def hairy(starter, model):
    """Random networks grow something wild around the same egg."""
    return StarterHeads(small_starter(bald=False).generator, model._space, starter.candidates)


def wearing(model, monkeypatch, outer):
    """The average head with hair and clothes of our own making, light where their distance is small.

    Args:
        model: Of the egg.
        monkeypatch: Undoes it.
        outer: From canonical points to signed distance.
    """

    def decode(_, points):
        distance = outer(points)
        return distance, (0.8 - 20 * distance.abs()[..., None]).expand(*distance.shape, 3)

    monkeypatch.setattr(model.network, "decode", decode)
    return model.head(model.mean_ws)


def egg(points):
    axes = points.new_tensor(AXES)
    reach = (points / axes).norm(dim=-1)
    return reach * (reach - 1) / (points / axes**2).norm(dim=-1).clamp(min=1e-6)


@torch.no_grad()
def densely(head, seen_by):
    """Colour, opacity and depth from very many samples, each ray by itself."""
    origins, directions = (one[0] for one in camera_rays(seen_by.cam2world, seen_by.intrinsics, SIZE))
    near, far, hits = (one[0] for one in cross_cube(origins[None], directions[None], head.space.world_side))
    colors, opacities, depths = (torch.zeros(SIZE**2, n) for n in (3, 1, 1))
    for ray in torch.nonzero(hits)[:, 0].tolist():
        along = torch.lerp(near[ray], far[ray], (torch.arange(DENSE) + 0.5) / DENSE)
        points = head.to_canonical((origins[ray] + along[:, None] * directions[ray])[None])
        outer, color = head.generator.decode(head.content, points)
        distance = union_distance(head.generator, outer[0], points[0])
        weights = ray_weights(distance, torch.full_like(along, float(far[ray] - near[ray]) / DENSE))
        colors[ray], opacities[ray] = weights @ (2 * color[0] - 1), weights.sum()
        depths[ray] = weights @ along / weights.sum().clamp(min=1e-6)
    return [one.T.reshape(-1, SIZE, SIZE) for one in (colors, opacities, depths)]


def test_model_and_heads_are_what_methods_ask_for(model):
    assert isinstance(model, Model)
    assert isinstance(model.head(model.mean_ws), Head)


@pytest.mark.parametrize("yaw_deg", [-15.0, 70.0])
def test_few_samples_show_what_many_show(model, yaw_deg):
    head, seen_by = model.head(model.mean_ws), cameras(yaw_deg)
    color, opacity, depth = densely(head, seen_by)
    picture = head.render(seen_by, size_px=SIZE)
    solid = (opacity > 0.99)[0]
    assert solid.sum() > 40
    assert (picture.opacity[0] - opacity).abs().mean() < 0.005
    assert (picture.image[0] - color).abs().mean() < 0.01
    assert (picture.depth[0] - depth)[:, solid].abs().median() < 0.0005
    assert picture.depth[0, 0][~solid & (opacity[0] < 1e-6)].min() > 1.2


def test_a_thin_sheet_off_the_skin_is_shown_too(model, monkeypatch):
    """Clothes are a few millimetres thick and hang before the body."""
    head = wearing(model, monkeypatch, lambda points: (egg(points) - 0.012).abs() - 0.0015)
    color, opacity, depth = densely(head, cameras())
    picture = head.render(cameras(), size_px=SIZE)
    assert (picture.opacity[0] - opacity).abs().mean() < 0.02
    assert (picture.image[0] - color).abs().mean() < 0.02
    assert (picture.depth[0] - depth)[:, (opacity > 0.99)[0]].abs().median() < 0.0005


def test_depth_is_the_distance_to_the_egg(starter):
    head = heads_of(starter, still=True)
    front = head.head(head.mean_ws).render(cameras(0.0, 0.0), size_px=33)
    assert float(front.depth[0, 0, 16, 16]) == pytest.approx(1.2 - AXES[2], abs=0.0006)
    assert float(front.opacity[0, 0, 16, 16]) == pytest.approx(1, abs=1e-3)
    assert float(front.opacity[0, 0, 0, 0]) == 0


def test_many_cameras_are_each_alone(model):
    head = model.head(model.mean_ws)
    pair = cameras().turned(torch.tensor([0.0, 0.6]), torch.tensor([0.0, 0.2]))
    both = head.render(pair, size_px=SIZE)
    second = head.render(replace(pair, cam2world=pair.cam2world[1:], intrinsics=pair.intrinsics[1:]), size_px=SIZE)
    torch.testing.assert_close(both.image[1:], second.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(both.depth[1:], second.depth, atol=1e-4, rtol=0)


def test_pictures_follow_codes_planes_and_weights(hairy):
    model = hairy.copied()
    model.network.requires_grad_(True)
    ws = model.mean_ws.clone().requires_grad_(True)
    head = model.head(ws)
    head.planes.retain_grad()
    picture = head.render(cameras(), size_px=SIZE)
    for values in (picture.image, picture.depth, picture.opacity):
        values.square().mean().backward(retain_graph=True)
        for leaf in (ws, head.planes, model.network.decoder.last.weight):
            assert leaf.grad.abs().max() > 0
            leaf.grad = None


def test_a_colour_s_slope_is_that_of_the_picture(model):
    """Colours alone move: samples and weights stay, so that a difference quotient is exact."""
    head = model.head(model.mean_ws)
    palette = head.content.palette.clone().requires_grad_(True)
    turn = torch.randn(palette.shape, generator=torch.Generator().manual_seed(1))

    def brightness(palette):
        moved = replace(head, content=HeadPlanes(head.planes, palette))
        return moved.render(cameras(), size_px=SIZE).image.mean()

    (slope,) = torch.autograd.grad(brightness(palette), palette)
    step = 1e-2
    quotient = (brightness(palette + step * turn) - brightness(palette - step * turn)) / (2 * step)
    assert (slope * turn).sum().item() == pytest.approx(quotient.item(), rel=1e-2)


def test_an_outline_that_is_millimetres_off_knows_where_to_go(model, monkeypatch):
    """The opacity itself is flat there; its slope is a softer one's."""
    thickness = torch.tensor(0.012, requires_grad=True)
    head = wearing(model, monkeypatch, lambda points: egg(points) - thickness)
    opacity = head.render(cameras(), size_px=64).opacity[0, 0]
    rim = (opacity > 0.999) & (torch.nn.functional.avg_pool2d(opacity[None], 3, 1, 1)[0] < 0.95)
    assert rim.sum() > 20
    (slope,) = torch.autograd.grad(opacity[rim].mean(), thickness)
    assert slope > 10  # Per metre: a millimetre of a hundredth.


def test_the_mirrored_body_shows_the_mirror_image_of_symmetric_planes(model):
    head = model.head(model.mean_ws)
    plain = replace(head, content=replace(head.content, planes=torch.zeros_like(head.planes)))
    seen_by = cameras()
    ours = plain.render(seen_by, size_px=SIZE)
    image = plain.on_mirrored_body().render(seen_by.mirrored(), size_px=SIZE)
    torch.testing.assert_close(image.depth.flip(3), ours.depth, atol=1e-3, rtol=0)
    torch.testing.assert_close(image.image.flip(3), ours.image, atol=5e-3, rtol=0)
    elsewhere = plain.render(seen_by.mirrored(), size_px=SIZE)
    assert (elsewhere.depth.flip(3) - ours.depth).abs().max() > 0.002  # The body itself is not symmetric.


def test_density_and_colour_are_the_field_s(hairy):
    head = hairy.head(hairy.mean_ws)
    points = (torch.rand((500, 3), generator=torch.Generator().manual_seed(2)) - 0.5) * 0.3
    density, color = head.decode(points[None])
    field = hairy.network.field(hairy.mean_ws)
    torch.testing.assert_close(density[0], field.density(points), atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(color[0].clamp(0, 1), field.color(points))


def test_usual_codes_are_the_candidates_average(model, starter):
    ws = model.network.map(starter.candidates)
    torch.testing.assert_close(model.mean_ws, ws.mean(0, keepdim=True))
    assert model.ws_std == pytest.approx(float((ws - ws.mean(0))[:, 0].norm(dim=1).square().mean().sqrt()), rel=1e-4)
