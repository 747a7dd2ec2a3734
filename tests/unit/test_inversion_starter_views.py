# SPDX-License-Identifier: Apache-2.0
"""The views that SPI adds to a photo, on the small starter: what they say of its own symmetric head, and of another."""

from dataclasses import replace

import pytest
import torch

from backend.inversion.method import Perception, PosedPortrait
from backend.inversion.photo_terms import masked_pixels
from backend.inversion.pseudo_views import PseudoViews, adjacent_loss, mirrored_loss, shape_loss
from backend.inversion.starter_heads import StarterHeads
from backend.inversion.starter_space import HeadSpace
from backend.inversion.symmetry import mirror_weight, symmetry_loss
from backend.inversion.warp import TOLERANCE
from backend.template import Deformation
from tests.small_planes import camera_at
from tests.small_starter import SIDE, small_starter

SIZE = 32


@pytest.fixture(scope="module")
def head():
    """A smiling egg, hence with a body that is not symmetric, but with symmetric planes."""
    starter = small_starter()
    offsets = starter.template.offsets(torch.ones(4).numpy(), torch.tensor([0.4, 0.9, 0.0]).numpy())
    space = HeadSpace.of(starter.generator, Deformation(starter.template, offsets, SIDE))
    model = StarterHeads(starter.generator, space, starter.candidates)
    random = model.head(model.mean_ws)
    planes = random.planes.clone()
    planes[:, :2] = (planes[:, :2] + planes[:, :2].flip(-1)) / 2  # Those two have x along their width.
    return replace(random, content=replace(random.content, planes=planes))


@pytest.fixture(scope="module")
def portrait(head):
    """Its own picture from a side, as a photo."""
    cameras = camera_at(40.0)
    cameras = replace(cameras, cam2world=cameras.cam2world.clone())
    cameras.cam2world[:, :3, 3] *= 0.9
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, [0, 1], [0, 1]] *= 1.6
    cameras = replace(cameras, intrinsics=intrinsics)
    picture = head.render(cameras, size_px=SIZE)
    return PosedPortrait(picture.image, picture.opacity, torch.ones_like(picture.opacity), cameras)


@pytest.fixture(scope="module")
def stained(head):
    """The same head, darker on one side."""
    stain = torch.zeros_like(head.planes)
    stain[:, 0, :, :, : stain.shape[-1] // 2] = 0.7
    return head.moved(stain)


def views():
    return PseudoViews(SIDE, SIZE, 2, torch.Generator().manual_seed(0))


def test_the_photo_s_mirror_image_shows_on_the_mirrored_body(head, portrait):
    mirrored = portrait.mirrored()

    def difference(head):
        return masked_pixels(head.render(mirrored.cameras, size_px=SIZE).image, mirrored).item()

    assert mirror_weight(float(portrait.cameras.yaw())) > 0.25
    assert difference(head.on_mirrored_body()) < 0.1 * difference(head)


@pytest.mark.parametrize("loss", [adjacent_loss, mirrored_loss])
def test_warped_photos_agree_with_their_own_head_and_not_with_another(head, stained, portrait, loss):
    own = loss(head, portrait, Perception(), views())
    assert loss(stained, portrait, Perception(), views()) > 1.2 * own


def test_the_shape_term_sees_the_surface_move_and_nothing_else(head, portrait):
    assert shape_loss(head, head, portrait, views()) == 0
    recolored = replace(head, content=replace(head.content, palette=head.content.palette + 0.2))
    assert shape_loss(recolored, head, portrait, views()) < 1e-8
    hairy = small_starter(bald=False).generator
    grown = replace(head, generator=hairy)
    assert shape_loss(grown, head, portrait, views()) > 1e-4


def test_the_hidden_side_is_compared_in_canonical_space(head, stained, portrait):
    depth = head.render(portrait.cameras, size_px=SIZE).depth

    def difference(head):
        random = torch.Generator().manual_seed(1)
        return symmetry_loss(head, portrait, depth, side=SIDE, tolerance=TOLERANCE * SIDE, random=random)

    assert difference(head) < 0.1 * difference(stained)
