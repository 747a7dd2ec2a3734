# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch

from backend.camera import look_at_camera
from backend.inversion.detail import evidence_of, refine_detail
from backend.inversion.light import Light
from backend.inversion.looks import Look
from backend.inversion.view import render_rays
from tests.small_starter import plain_head, small_generator
from tests.small_view import showing, small_view

NO_LIGHT = Light(torch.ones(3), torch.zeros(3))


@pytest.fixture(scope="module")
def generator():
    return small_generator().requires_grad_(False)


@pytest.fixture(scope="module")
def head(generator):
    return plain_head(generator)


@pytest.fixture(scope="module")
def view(generator):
    return small_view(generator, look_at_camera(yaw_deg=50, pitch_deg=0, distance=1.2, focal=3.6))


@pytest.fixture(scope="module")
def photo(generator, head, view):
    """The head from its left, painted with stripes that it does not have."""
    plain = showing(view, generator, head)
    stripes = 0.25 * torch.sin(torch.arange(len(plain.target.color)) / 40.0)[:, None]
    return replace(plain, target=replace(plain.target, color=plain.target.color + stripes))


@pytest.fixture(scope="module")
def offset(generator, head, photo):
    random = torch.Generator().manual_seed(0)
    return refine_detail(generator, head, [photo], steps=60, random=random, step=lambda done: None)


@pytest.fixture(scope="module")
def evidence(generator, head, photo):
    return evidence_of(photo, look_of(generator, head, photo), weight=1.0)


def look_of(generator, head, photo):
    return Look(*render_rays(generator, head, photo), NO_LIGHT)


def colors(generator, head, places):
    return generator.decode(head, places[None])[1][0]


def test_detail_brings_the_photo_closer(generator, head, photo, offset, evidence):
    before = evidence.loss(colors(generator, head, evidence.points))
    after = evidence.loss(colors(generator, head.recolored(offset), evidence.points))
    assert after < 0.6 * before


def test_the_surface_stays_bit_for_bit(generator, head, offset, evidence):
    plain, _ = generator.decode(head, evidence.points[None])
    detailed, _ = generator.decode(head.recolored(offset), evidence.points[None])
    assert torch.equal(plain, detailed)


def test_the_hidden_side_follows_its_mirror_image(generator, head, offset, evidence):
    mirrored = evidence.surface * torch.tensor([-1.0, 1, 1])
    hidden = evidence.surface[:, 0] > 0.03
    wanted, places = evidence.color[hidden], mirrored[hidden]
    before = (colors(generator, head, places) - wanted).abs().mean()
    after = (colors(generator, head.recolored(offset), places) - wanted).abs().mean()
    assert after < before


def test_what_no_photo_shows_keeps_its_colours(generator, head, view, offset, evidence):
    both = torch.cat([evidence.surface, evidence.surface * torch.tensor([-1.0, 1, 1])])
    far = view.guide[torch.cdist(view.guide, both).amin(1) > 0.05]
    changed = (colors(generator, head.recolored(offset), far) - colors(generator, head, far)).abs().mean()
    assert len(far) > 50
    assert changed < 0.02


def test_a_head_that_shows_the_photo_already_keeps_its_colours(generator, head, view, photo):
    color, _, _ = render_rays(generator, head, view)
    exact = replace(photo, target=replace(photo.target, color=color))
    random = torch.Generator().manual_seed(0)
    offset = refine_detail(generator, head, [exact], steps=20, random=random, step=lambda done: None)
    there = evidence_of(exact, look_of(generator, head, exact), weight=1.0)
    assert there.loss(colors(generator, head.recolored(offset), there.points)) < 0.02


def test_evidence_is_the_rendering_of_what_it_was_made_of(generator, head, view, photo, evidence):
    """Shares of few samples make up nearly the colour of all."""
    color, _, _ = render_rays(generator, head, view)
    shown = torch.zeros_like(evidence.color).index_add(
        0, evidence.ray, evidence.share[:, None] * colors(generator, head, evidence.points)
    )
    stripes = photo.target.color - color
    assert evidence.trust.sum() == pytest.approx(1.0, abs=1e-5)
    distance = torch.cdist(evidence.color, photo.target.color)
    assert (shown - (evidence.color - stripes[distance.argmin(1)])).abs().median() < 0.01


def test_edges_and_surfaces_seen_from_the_side_tell_nothing(generator, head, photo, evidence):
    hit = int((photo.target.mask > 0.5).sum())
    assert 0.3 * hit < len(evidence.color) < 0.9 * hit


def test_an_oblique_place_is_believed_as_far_as_it_looks_as_expected(generator, head, view):
    as_expected = showing(view, generator, head)
    strange = replace(as_expected, target=replace(as_expected.target, color=as_expected.target.color + 0.4))
    known, believed = (
        evidence_of(photo, look_of(generator, head, view), weight=1.0) for photo in (as_expected, strange)
    )
    distance, number = torch.cdist(believed.surface, known.surface).min(1)
    assert distance.max() < 1e-3 and 0 < len(believed.color) < len(known.color)
    share = believed.trust / known.trust[number]  # Both sum to 1: what oblique places lose, square ones win.
    towards_camera = torch.tensor([0.766, 0.0, 0.643])
    square = torch.nn.functional.normalize(believed.surface, dim=1) @ towards_camera
    assert share.max() > 1 and share.min() < 0.5
    assert torch.corrcoef(torch.stack([share, square]))[0, 1] > 0.5


def test_a_photo_without_the_head_changes_nothing(generator, head, photo):
    empty = replace(photo, target=replace(photo.target, mask=torch.zeros_like(photo.target.mask)))
    random = torch.Generator().manual_seed(0)
    offset = refine_detail(generator, head, [empty], steps=3, random=random, step=lambda done: None)
    places = photo.guide[:200]
    assert torch.allclose(colors(generator, head, places), colors(generator, head.recolored(offset), places), atol=0.02)


def test_cancelling_comes_through(generator, head, photo):
    def cancel(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine_detail(generator, head, [photo], steps=3, random=torch.Generator().manual_seed(0), step=cancel)
