# SPDX-License-Identifier: Apache-2.0
import torch

from backend.inversion.light import LARGEST_GAIN, lights
from backend.inversion.view import Target

GAIN, OFFSET = torch.tensor([1.3, 0.9, 0.7]), torch.tensor([-0.05, 0.1, 0.02])


def picture(count, seed):
    return torch.rand((count, 3), generator=torch.Generator().manual_seed(seed))


def target(color):
    ones = torch.ones(len(color))
    return Target(color, ones, ones, ones)


def test_the_difference_between_two_photos_light_is_found_whatever_the_head_s_own_colours_are():
    """The head's colours are off in the same way in both photos; that is no light."""
    first, second = picture(500, 1), picture(300, 2)
    wrong = 0.5 * first + 0.1, 0.5 * second + 0.1
    main, other = lights(wrong, [target(first), target(second * GAIN + OFFSET)])
    torch.testing.assert_close(main.put_on(first), first)
    torch.testing.assert_close(other.gain, GAIN, atol=1e-4, rtol=0)
    torch.testing.assert_close(other.offset, OFFSET, atol=1e-4, rtol=0)
    torch.testing.assert_close(other.taken_off(other.put_on(first)), first)


def test_what_is_not_the_head_tells_nothing_of_its_light():
    color = picture(400, 3)
    seen = target(torch.cat([color * GAIN + OFFSET, torch.ones(400, 3)]))
    mask = torch.cat([torch.ones(400), torch.zeros(400)])
    seen = Target(seen.color, mask, seen.weight, seen.outline)
    _, other = lights([color, torch.cat([color, torch.zeros(400, 3)])], [target(color), seen])
    torch.testing.assert_close(other.gain, GAIN, atol=1e-4, rtol=0)


def test_no_light_is_stronger_than_light_can_be():
    color = picture(400, 4)
    _, other = lights([color, color], [target(color), target(0.1 * color)])
    torch.testing.assert_close(other.gain, torch.full((3,), 1 / LARGEST_GAIN))
    # The mean is met all the same, so that nothing is pulled to black.
    torch.testing.assert_close(other.put_on(color).mean(0), 0.1 * color.mean(0), atol=1e-5, rtol=0)


def test_the_only_photo_has_no_light_of_its_own():
    color = picture(10, 5)
    (only,) = lights([color], [target(0.5 * color)])
    assert torch.equal(only.put_on(color), color)
