# SPDX-License-Identifier: Apache-2.0
import torch

from backend.inversion.cameras import Cameras, pixel_places
from backend.inversion.method import PosedPortrait
from backend.inversion.warp import is_hidden, warp_portrait
from tests.small_planes import camera_at

SIZE = 64
TOLERANCE = 0.05


def depth_of(surface, cameras: Cameras, size_px: int = SIZE):
    """Exact distance along each ray to a surface that maps origins and directions to it."""
    places = pixel_places(size_px, torch.device("cpu"))[None]
    through = cameras.lift(places, torch.ones(1, places.shape[1]))
    origin = cameras.cam2world[:, None, :3, 3]
    return surface(origin, through - origin).reshape(1, 1, size_px, size_px)


def plane(height):
    """The world plane z = height."""
    return lambda origin, along: (height - origin[..., 2]) / along[..., 2]


def ball(radius, miss=3.5):
    """A ball around the origin; rays that miss it end far behind."""

    def distance(origin, along):
        middle = -(origin * along).sum(-1)
        gap = radius**2 - (origin.square().sum(-1) - middle.square())
        return torch.where(gap > 0, middle - gap.clamp(min=0).sqrt(), miss)

    return distance


def painted(points):
    """A smooth colour of every point in the world."""
    return torch.stack([(8 * points[..., k] + k).sin() for k in range(3)], dim=-1)


def picture_of(surface, cameras):
    depth = depth_of(surface, cameras)
    points = cameras.lift(pixel_places(SIZE, depth.device)[None], depth.flatten(1))
    return painted(points)[0].T.reshape(1, 3, SIZE, SIZE), depth


def portrait_of(surface, cameras, mask=None):
    image, depth = picture_of(surface, cameras)
    ones = torch.ones_like(depth)
    return PosedPortrait(image, ones if mask is None else mask, ones, cameras), depth


def test_equal_cameras_give_the_portrait_back():
    portrait, depth = portrait_of(ball(0.3), camera_at(15))
    image, authentic = warp_portrait(portrait, depth, portrait.cameras, depth, tolerance=TOLERANCE)
    torch.testing.assert_close(image, portrait.image, atol=2e-3, rtol=0)
    assert (authentic > 0.99).all()


def test_a_plane_is_carried_to_where_the_other_camera_sees_it():
    portrait, depth = portrait_of(plane(0.1), camera_at(0))
    expected, target_depth = picture_of(plane(0.1), camera_at(12, 4))
    image, authentic = warp_portrait(portrait, depth, camera_at(12, 4), target_depth, tolerance=TOLERANCE)
    believed = authentic[:, 0] > 0.99
    assert 0.8 < believed.float().mean() < 1  # A strip of the plane lies beyond the portrait's border.
    error = (image - expected).abs().amax(1)
    assert error[believed].median() < 0.003
    assert error[believed].max() < 0.05  # Half a pixel within the portrait's border.


def test_what_the_portrait_does_not_see_is_not_authentic():
    portrait, depth = portrait_of(ball(0.3), camera_at(0))
    cameras = camera_at(40)
    expected, target_depth = picture_of(ball(0.3), cameras)
    image, authentic = warp_portrait(portrait, depth, cameras, target_depth, tolerance=0.02)
    points = cameras.lift(pixel_places(SIZE, depth.device)[None], target_depth.flatten(1))
    on_ball = (points.norm(dim=-1) < 0.31).reshape(1, SIZE, SIZE)
    # The portrait's camera sees the cap of the ball that lies before its horizon.
    cap = (points[..., 2] > 0.3**2 / 2.7).reshape(1, SIZE, SIZE)
    inner = (points[..., 2] > 0.15).reshape(1, SIZE, SIZE)
    behind = (points[..., 2] < -0.05).reshape(1, SIZE, SIZE)
    assert (on_ball & ~cap).sum() > 100
    assert (authentic[:, 0][on_ball & inner] > 0.99).all()
    assert (authentic[:, 0][on_ball & behind] == 0).all()
    assert (image - expected).abs().amax(1)[on_ball & inner].max() < 0.05


def test_what_the_portrait_masks_is_not_authentic():
    mask = torch.ones(1, 1, SIZE, SIZE)
    mask[..., : SIZE // 2] = 0
    portrait, depth = portrait_of(plane(0.0), camera_at(0), mask)
    _, authentic = warp_portrait(portrait, depth, portrait.cameras, depth, tolerance=TOLERANCE)
    torch.testing.assert_close(authentic, mask)


def test_points_are_hidden_behind_what_is_seen_and_beyond_the_border():
    portrait, depth = portrait_of(ball(0.3), camera_at(0))
    points = torch.tensor([[[0.0, 0.0, 0.3], [0.0, 0.0, -0.3], [0.0, 0.1, 0.0], [0.0, 0.0, 0.6], [0.9, 0.0, 0.0]]])
    hidden = is_hidden(points, portrait, depth, tolerance=TOLERANCE)
    assert hidden.tolist() == [0, 1, 1, 0, 1]


def test_points_outside_the_photo_are_hidden():
    portrait, depth = portrait_of(ball(0.3), camera_at(0))
    unknown = PosedPortrait(portrait.image, portrait.mask, torch.zeros_like(portrait.trust), portrait.cameras)
    assert is_hidden(torch.tensor([[[0.0, 0.0, 0.3]]]), unknown, depth, tolerance=TOLERANCE).item() == 1
