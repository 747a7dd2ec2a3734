# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch

from backend import face_mesh_points as landmark
from backend.inversion.method import Perception
from backend.inversion.pseudo_views import PseudoViews, adjacent_loss, mirrored_loss, shape_loss
from backend.inversion.regions import REGION_PX, crop, region_boxes
from tests.small_planes import camera_at, portrait_of, small_model
from tests.unit.test_inversion_warp import ball, depth_of, plane

PERCEPTION = Perception()


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def head(model):
    return model.head(model.mean_ws)


def views(model, seed=0, count=3):
    return PseudoViews(model.side, 16, count, torch.Generator().manual_seed(seed))


def test_cameras_are_drawn_on_both_sides(model):
    yaws = PseudoViews(1.0, 16, 200, torch.Generator().manual_seed(0)).around(camera_at(20), yaw=0.2, pitch=0.1).yaw()
    middle = torch.tensor(20.0).deg2rad()
    assert (yaws - middle).abs().max() < 0.2
    assert 60 < (yaws > middle).sum() < 140


def test_an_unchanged_shape_costs_nothing_and_a_changed_one_does(model, head):
    portrait = portrait_of(model)
    assert shape_loss(head, head, portrait, views(model)).item() == 0
    other = head.moved(0.3 * torch.randn(head.planes.shape, generator=torch.Generator().manual_seed(0)))
    assert shape_loss(other, head, portrait, views(model)) > 1e-4


def test_shape_is_looked_at_from_around_the_front_wherever_the_portrait_stands(model, head):
    other = head.moved(0.3 * torch.randn(head.planes.shape, generator=torch.Generator().manual_seed(0)))
    costs = [shape_loss(other, head, portrait_of(model, yaw_deg=yaw), views(model)).item() for yaw in (-60, 0, 60)]
    assert costs == pytest.approx([costs[1]] * 3, rel=1e-3)


def test_views_beside_the_heads_own_picture_agree_better_than_beside_another(model, head):
    with torch.no_grad():
        image = head.render(camera_at(0), size_px=16).image
    own = replace(portrait_of(model), image=image)
    other = replace(own, image=-image)
    assert adjacent_loss(head, own, PERCEPTION, views(model)) < 0.5 * adjacent_loss(
        head, other, PERCEPTION, views(model)
    )


def test_nothing_is_asked_where_the_portrait_shows_nothing(model, head):
    blank = replace(portrait_of(model), mask=torch.zeros(1, 1, 32, 32))
    planes = head.planes.clone().requires_grad_(True)
    loss = adjacent_loss(replace(head, planes=planes), blank, PERCEPTION, views(model))
    loss.backward()
    assert loss.item() == 0 and planes.grad.abs().max() == 0


def test_the_mirrored_loss_reaches_the_planes(model, head):
    portrait = replace(portrait_of(model, yaw_deg=30), landmarks=torch.rand(478, 2) * 0.4 + 0.3)
    planes = head.planes.clone().requires_grad_(True)
    mirrored_loss(replace(head, planes=planes), portrait, PERCEPTION, views(model)).backward()
    assert planes.grad.isfinite().all() and planes.grad.abs().max() > 0


def test_regions_surround_the_landmarks_in_every_view(model):
    portrait = portrait_of(model)
    points = torch.rand(478, 2, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    portrait = replace(portrait, landmarks=points)
    depth = depth_of(plane(0.1), portrait.cameras)
    boxes = region_boxes(portrait, depth, portrait.cameras)
    assert len(boxes) == 3
    eye = boxes[0][0]
    assert (eye[:2] < points[landmark.RIGHT_EYE_OUTER]).all() and (points[landmark.RIGHT_EYE_OUTER] < eye[2:]).all()
    # From further to the right (+x) everything before the origin moves to the left.
    turned = region_boxes(portrait, depth, camera_at(10))
    assert (turned[2][0, [0, 2]] < boxes[2][0, [0, 2]]).all()


def test_without_landmarks_the_whole_picture_is_the_region(model):
    portrait = portrait_of(model)
    boxes = region_boxes(portrait, depth_of(ball(0.3), portrait.cameras), camera_at(10))
    assert len(boxes) == 1
    image = torch.rand(1, 3, REGION_PX, REGION_PX)
    torch.testing.assert_close(crop(image, boxes[0]), image, atol=1e-5, rtol=0)


def test_a_crop_shows_its_box():
    image = torch.zeros(1, 1, 40, 40)
    image[..., 10:20, 20:30] = 1
    box = torch.tensor([[0.5, 0.25, 0.75, 0.5]])
    inner = crop(image, box)[..., 4:-4, 4:-4]
    assert (inner > 0.99).all()
