# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from backend.generator.volume import activate_density
from backend.inversion.cameras import Cameras
from backend.inversion.plane_model import PlaneModel, tuned_generator
from tests.small_planes import camera_at, small_model

PANOHEAD = {
    "family": "panohead",
    "plane_depth": 3,
    "plane_axes": "corrected",
    "feature_activation": "none",
    "empty_margin": 0.1,
    "background_resolution": 16,
    "has_torgb": True,
}


@pytest.fixture(scope="module", params=[{}, PANOHEAD], ids=["eg3d", "panohead"])
def model(request):
    return small_model(**request.param)


def test_the_average_is_that_of_many_random_heads(model):
    random = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    few = PlaneModel(model.network, average_samples=4000)
    label = torch.zeros(4000, 25)
    assert (few.mean_ws - model.mean_ws).abs().max() < 0.3 * model.ws_std
    assert few.ws_std == pytest.approx(model.ws_std, rel=0.1)
    assert model.network.make_ws(random, label).shape[1:] == model.mean_ws.shape[1:]


def test_several_cameras_see_one_head_as_one_by_one(model):
    head = model.head(model.mean_ws + 0.5)
    cameras = [camera_at(yaw) for yaw in (0, 40)]
    both = Cameras(*(torch.cat([getattr(one, name) for one in cameras]) for name in ("cam2world", "intrinsics")))
    together = head.render(both, size_px=16)
    for number, one in enumerate(cameras):
        alone = head.render(one, size_px=16)
        torch.testing.assert_close(together.image[number], alone.image[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.opacity[number], alone.opacity[0], atol=1e-4, rtol=1e-4)


def test_pictures_are_those_of_the_generator(model):
    ws, camera = model.mean_ws + 0.5, camera_at(20)
    expected = model.network(ws, camera.cam2world, camera.intrinsics, size_px=16)
    torch.testing.assert_close(model.head(ws).render(camera, size_px=16).image, expected.image)
    raw = model.head(ws).render(camera, size_px=16, superresolve=False)
    torch.testing.assert_close(raw.image, expected.image_raw)


def test_density_and_colour_are_those_of_the_generators_field(model):
    points = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3
    ws = model.mean_ws + 0.5
    density, color = model.head(ws).decode(points)
    field = model.network.field(ws)
    raw, _ = model.network.raw_field(model.network.make_planes(ws), points)
    torch.testing.assert_close(density, activate_density(raw))
    torch.testing.assert_close(color[0].clamp(0, 1), field.color(points[0]), atol=1e-5, rtol=0)


def test_gradients_are_numbers_even_where_rays_meet_nothing(model):
    head = model.head(model.mean_ws)
    offset = torch.zeros_like(head.planes, requires_grad=True)
    pictures = head.moved(offset).render(camera_at(60), size_px=16)
    (pictures.image.mean() + pictures.depth.mean() + pictures.opacity.mean()).backward()
    assert offset.grad.isfinite().all()


def test_a_copy_can_change_without_the_original(model):
    copy = model.copied()
    with torch.no_grad():
        for value in copy.noise().values():
            value.zero_()
    assert all(value.abs().sum() > 0 for value in model.noise().values())
    assert torch.equal(copy.mean_ws, model.mean_ws)


def test_tuned_weights_are_the_old_ones_with_the_changes_added(model):
    name = "decoder.net.0.weight"
    tuned = tuned_generator(model.network, {name: torch.ones_like(model.network.state_dict()[name])})
    torch.testing.assert_close(tuned.state_dict()[name], model.network.state_dict()[name] + 1)
