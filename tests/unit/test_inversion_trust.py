# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch

from backend.camera import look_at_camera
from backend.inversion import trust
from backend.inversion.trust import robust_weight, trusted
from backend.inversion.view import HAIR_REACH_M, render_rays
from tests.small_starter import plain_head, small_generator
from tests.small_view import showing, small_view


@pytest.fixture(scope="module")
def generator():
    return small_generator().requires_grad_(False)


@pytest.fixture(scope="module")
def head(generator):
    return plain_head(generator)


@pytest.fixture(scope="module")
def view(generator):
    return small_view(generator, look_at_camera(yaw_deg=0, pitch_deg=0, distance=1.2, focal=2.4), matte=1.0)


@pytest.fixture(scope="module")
def photo(generator, head, view):
    """The head's own picture."""
    return showing(view, generator, head)


def test_a_residual_of_the_scale_counts_a_quarter():
    weights = robust_weight(torch.tensor([0.0, 0.5, 1.0, 10.0]), 0.5)
    torch.testing.assert_close(weights[:3], torch.tensor([1.0, 0.25, 0.04]))
    assert weights[3] < 1e-5


def test_what_the_head_explains_is_trusted(generator, head, photo):
    found = trusted(generator, head, [photo])[0]
    torch.testing.assert_close(found.shape_trust, torch.ones_like(found.shape_trust), atol=0.02, rtol=0)
    assert (found.target.outline > 0.8).all()


def test_a_patch_of_another_colour_is_not_trusted(generator, head, photo):
    inside = torch.nonzero(photo.target.mask > 0.5)[:, 0]
    patch = inside[: len(inside) // 8]
    color = photo.target.color.clone()
    color[patch] = 1 - color[patch].round()
    found = trusted(generator, head, [replace(photo, target=replace(photo.target, color=color))])[0]
    assert found.shape_trust[patch].max() < 0.25 and found.shape_trust[inside[len(patch) :]].min() > 0.9


def test_distrust_takes_the_surfaces_share_of_a_gradient_alone(photo):
    """The head has a mask of hair 2 mm above the face."""
    generator = small_generator()
    with torch.no_grad():
        generator.decoder.last.bias[0] = -0.2
    generator.requires_grad_(False)
    head = generator.planes(generator.map(torch.ones((1, 5))))
    planes = head.planes.clone().requires_grad_(True)

    def gradient(trust_value):
        trust_all = torch.full((len(photo.index),), trust_value)
        shown, _, _ = render_rays(generator, replace(head, planes=planes), replace(photo, shape_trust=trust_all))
        return torch.autograd.grad((shown * shown).sum(), planes)[0]

    full, half, none = gradient(1.0), gradient(0.5), gradient(0.0)
    assert none.abs().sum() > 0, "colours can still be painted"
    share = full - none
    assert share.abs().max() > 0, "the surface moved too"
    torch.testing.assert_close(half, (full + none) / 2)


def test_trust_changes_no_picture(generator, head, photo):
    found = trusted(generator, head, [photo])[0]
    half = replace(found, shape_trust=torch.full_like(found.shape_trust, 0.5))
    for with_trust, without in zip(
        render_rays(generator, head, half), render_rays(generator, head, photo), strict=True
    ):
        torch.testing.assert_close(with_trust, without)


def test_strange_light_all_over_is_no_reason_for_distrust(generator, head, photo):
    dark = replace(photo, target=replace(photo.target, color=0.3 * photo.target.color))
    found = trusted(generator, head, [dark])[0]
    assert found.shape_trust.median() > 0.7


def test_an_outline_far_off_the_head_has_little_say(generator, head, photo):
    everywhere = replace(photo, target=replace(photo.target, mask=torch.ones_like(photo.target.mask)))
    found = trusted(generator, head, [everywhere])[0]
    _, _, outer = render_rays(generator, head, photo)
    gap = trust.ray_distance(photo, outer).amin(-1)
    # A quarter of the say at the reach, by the definition of the weight.
    torch.testing.assert_close(found.target.outline, (1 + (gap.clamp(min=0) / trust.REACH_M) ** 2) ** -2)
    assert found.target.outline.min() < 0.5 and found.target.outline[gap < 0].min() == 1


def test_what_stands_farther_off_than_hair_is_no_part_of_the_person(view):
    """The matte is full; what is left of it is the head with the room for its hair."""
    near = view.body.amin(1)
    assert (near > HAIR_REACH_M).any()
    assert (view.target.mask[near > HAIR_REACH_M] == 0).all() and (view.target.mask[near < HAIR_REACH_M] == 1).all()
