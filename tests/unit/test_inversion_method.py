# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import torch

from backend.face_mesh_points import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from backend.inversion.method import PosedPortrait
from tests.small_planes import camera_at


def portrait():
    random = torch.Generator().manual_seed(0)
    image, mask, trust = (torch.rand(1, count, 16, 16, generator=random) for count in (3, 1, 1))
    return PosedPortrait(image, mask, trust, camera_at(30), torch.rand(478, 2, generator=random))


def test_mirroring_twice_gives_the_portrait_back():
    one, twice = portrait(), portrait().mirrored().mirrored()
    for name in ("image", "mask", "trust", "landmarks"):
        torch.testing.assert_close(getattr(twice, name), getattr(one, name))
    torch.testing.assert_close(twice.cameras.cam2world, one.cameras.cam2world)


def test_the_mirrored_right_eye_is_the_left_one_on_the_other_side():
    one, mirrored = portrait(), portrait().mirrored()
    expected = one.landmarks[LEFT_EYE_OUTER] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    torch.testing.assert_close(mirrored.landmarks[RIGHT_EYE_OUTER], expected)
    assert torch.equal(mirrored.image[..., 0], one.image[..., -1])


def test_shrinking_takes_means():
    one = replace(portrait(), mask=torch.ones(1, 1, 16, 16), trust=torch.ones(1, 1, 16, 16))
    torch.testing.assert_close(one.resized(8).image, torch.nn.functional.avg_pool2d(one.image, 2))
    small = portrait().resized(8)
    torch.testing.assert_close(small.mask, torch.nn.functional.avg_pool2d(portrait().mask, 2))
    assert small.landmarks is not None


def test_shrinking_mixes_no_background_into_the_head():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 3:12, 5:9] = 1
    one = replace(portrait(), mask=mask, trust=torch.ones(1, 1, 16, 16))
    other = replace(one, image=torch.where(mask > 0, one.image, -one.image))
    first, second = one.resized(8), other.resized(8)
    torch.testing.assert_close(first.image * first.shown, second.image * second.shown)
    inside = (first.shown > 0) & (first.shown < 1)
    assert inside.any()


def test_only_what_is_head_and_photo_is_shown_and_no_mixed_pixel():
    mask = torch.tensor([0.0, 0.5, 0.79, 0.9, 1.0]).reshape(1, 1, 1, 5).expand(1, 1, 5, 5)
    trust = torch.ones(1, 1, 5, 5)
    trust[..., 0, :] = 0
    one = PosedPortrait(torch.zeros(1, 3, 5, 5), mask, trust, camera_at(0))
    torch.testing.assert_close(one.shown[0, 0, 1], torch.tensor([0.0, 0.0, 0.0, 0.5, 1.0]))
    assert one.shown[0, 0, 0].sum() == 0
