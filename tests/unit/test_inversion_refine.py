# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.camera import look_at_camera
from backend.inversion.losses import bare_face_loss, photo_loss
from backend.inversion.refine import CLEARANCE_M, Likely, RefineConfig, choice_number, choose_start, hair_litres, refine
from backend.inversion.view import Target, render_rays
from tests.small_starter import front_points, plain_head, small_generator
from tests.small_view import showing, small_view

SHORT = RefineConfig(code_steps=12, offset_steps=12, detail_steps=0)


@pytest.fixture(scope="module")
def generator():
    return small_generator().requires_grad_(False)


@pytest.fixture(scope="module")
def candidates():
    return torch.randn((6, 5), generator=torch.Generator().manual_seed(8))


@pytest.fixture(scope="module")
def view(generator):
    return small_view(generator, look_at_camera(yaw_deg=20, pitch_deg=5, distance=1.2, focal=3.6))


def photo_cost(generator, view, ws, offset=None):
    with torch.no_grad():
        color, opacity, _ = render_rays(generator, generator.planes(ws, offset), view)
        return float(photo_loss(color, opacity, view.target)[0])


def refined(generator, candidates, view, *, seed=0, config=SHORT, step=lambda done: None):
    random = torch.Generator().manual_seed(seed)
    likely = Likely(candidates.mean(0), candidates.std(0).clamp(min=0.1))
    return refine(generator, candidates[:1], candidates, likely, [view], config=config, random=random, step=step)


@pytest.fixture(scope="module")
def photo(generator, candidates, view):
    """Of a head that is none of the candidates."""
    return showing(view, generator, generator.planes(generator.map(candidates[3:4] + 0.5)))


def test_the_candidate_on_the_photo_is_chosen(generator, candidates, view):
    for number in (0, 2, 5):
        photo = showing(view, generator, generator.planes(generator.map(candidates[number, None])))
        told = []
        assert torch.equal(
            choose_start(generator, candidates, [photo], told.append, chosen=0.0), candidates[number, None]
        )
        assert told == pytest.approx([(k + 1) / 6 for k in range(6)])


def test_codes_and_then_the_offset_come_nearer_to_the_photo(generator, candidates, photo):
    result = refined(generator, candidates, photo)
    before = photo_cost(generator, photo, generator.map(candidates[:1]))
    codes_alone = photo_cost(generator, photo, result.ws)
    with_offset = photo_cost(generator, photo, result.ws, result.plane_offset)
    assert with_offset < codes_alone < before
    assert with_offset < 0.7 * before


def test_codes_stay_codes_that_the_mapping_makes(generator, candidates, photo):
    ws = refined(generator, candidates, photo).ws
    torch.testing.assert_close(ws, ws[:, :1].expand_as(ws))


def test_the_same_seed_gives_the_same_head(generator, candidates, photo):
    one, again = (refined(generator, candidates, photo, seed=4) for _ in range(2))
    assert torch.equal(one.ws, again.ws) and torch.equal(one.plane_offset, again.plane_offset)
    assert one.losses == again.losses
    assert not torch.equal(one.plane_offset, refined(generator, candidates, photo, seed=5).plane_offset)


def test_the_generators_weights_never_change(candidates, view):
    generator = small_generator().requires_grad_(False)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    photo = showing(view, generator, generator.planes(generator.map(candidates[1:2])))
    refined(generator, candidates, photo)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_progress_rises_to_the_end(generator, candidates, photo):
    told = []
    refined(generator, candidates, photo, step=told.append)
    assert told == pytest.approx([(k + 1) / 24 for k in range(24)])


def test_no_steps_leave_the_start(generator, candidates, photo):
    result = refined(generator, candidates, photo, config=RefineConfig(code_steps=0, offset_steps=0, detail_steps=2))
    assert torch.equal(result.ws, generator.map(candidates[:1]))
    assert not result.plane_offset.any() and result.losses == {}


def test_hair_is_driven_off_the_face(candidates, view):
    """The first head has a mask of hair 2 mm above the face."""
    generator = small_generator()
    with torch.no_grad():
        generator.decoder.last.bias[0] = -0.2
    generator.requires_grad_(False)
    photo = showing(view, generator, generator.planes(generator.map(candidates[:1])))

    def covering(ws, offset):
        with torch.no_grad():
            _, _, outer = render_rays(generator, generator.planes(ws, offset), photo)
        return float(bare_face_loss(outer, photo.points, clearance=CLEARANCE_M))

    result = refined(generator, candidates, photo, config=RefineConfig(code_steps=12, offset_steps=36, detail_steps=2))
    assert covering(result.ws, result.plane_offset) < covering(generator.map(candidates[:1]), None)


def test_a_matte_that_shows_no_head_is_survived(generator, candidates, view):
    """Segmentation may fail on a strange photo; the head is then the generator's own."""
    ones = torch.ones(len(view.index))
    empty = replace(view, target=Target(torch.zeros((len(ones), 3)), 0 * ones, ones, ones))
    result = refined(generator, candidates, empty)
    assert torch.isfinite(result.plane_offset).all() and torch.isfinite(result.ws).all()


@pytest.fixture(scope="module")
def chooser():
    """A generator whose descriptions hold one choice of three."""
    generator = small_generator().requires_grad_(False)
    generator.config = replace(generator.config, choices=((2, 3),))
    return generator


@pytest.fixture(scope="module")
def choices(candidates):
    """Heads of which every one chose the first of the three kinds."""
    heads = candidates.clone()
    heads[:, 2:] = torch.tensor([2.5, 0.0, 0.0])
    return heads


def test_a_choice_that_no_candidate_made_is_found(chooser, choices, view):
    wanted = choices[1:2].clone()
    wanted[:, 2:] = torch.tensor([0.0, 0.0, 2.5])
    photo = showing(view, chooser, chooser.planes(chooser.map(wanted)))
    told = []
    assert torch.equal(choose_start(chooser, choices[1:2], [photo], told.append, chosen=2.5), wanted)
    assert told == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_half_a_choice_becomes_a_whole_one(chooser, choices, view):
    assert choice_number(chooser, choices) == 2.5
    half, wanted = choices[1:2].clone(), choices[1:2].clone()
    half[:, 2:], wanted[:, 2:] = torch.tensor([0.9, 0.7, 0.9]), torch.tensor([0.0, 2.5, 0.0])
    photo = showing(view, chooser, chooser.planes(chooser.map(wanted)))
    assert torch.equal(choose_start(chooser, half, [photo], lambda done: None, chosen=2.5), wanted)


def test_refinement_leaves_choices_and_the_candidates_range_alone(chooser, choices, view):
    photo = showing(view, chooser, chooser.planes(chooser.map(choices[3:4] + 3.0)))
    refined_z = refined(chooser, choices, photo).ws[0, 0, :5]  # w begins with the description.
    assert torch.equal(refined_z[2:], choices[0, 2:])
    assert ((refined_z >= choices.amin(0)) & (refined_z <= choices.amax(0))).all()
    assert not torch.equal(refined_z[:2], choices[0, :2])


def test_the_offset_leaves_the_surface_that_no_ray_sees(generator, candidates, photo):
    """The photo is taken from the front, so the back keeps its place far better than the front does."""
    result = refined(generator, candidates, photo)
    points = front_points(400)
    moved = []
    for side in (points, points * [1, 1, -1]):
        place = torch.from_numpy(side.astype(np.float32))[None]
        with torch.no_grad():
            before, _ = generator.decode(generator.planes(result.ws), place)
            after, _ = generator.decode(generator.planes(result.ws, result.plane_offset), place)
        moved.append(float((after - before).abs().mean()))
    assert moved[1] < moved[0]


def test_steps_that_lead_away_are_not_kept(generator, candidates, photo):
    """With rates far too large every step makes it worse; the best iterate is then the start."""
    wild = RefineConfig(code_steps=6, offset_steps=6, detail_steps=2, code_rate=1e3, offset_rate=1e3)
    result = refined(generator, candidates, photo, config=wild)
    before = photo_cost(generator, photo, generator.map(candidates[:1]))
    assert photo_cost(generator, photo, result.ws, result.plane_offset) <= before * 1.001
    assert torch.isfinite(result.plane_offset).all()


def test_of_heads_that_show_a_photo_alike_the_one_with_least_hair_is_chosen(generator, candidates, view, monkeypatch):
    photo = showing(view, generator, generator.planes(generator.map(candidates[:1])))
    blank = torch.zeros_like(photo.target.mask)
    silent = replace(photo, target=replace(photo.target, mask=blank, weight=blank, outline=blank))
    litres = [3.0, 2.0, 0.5, 1.0, 4.0, 0.7]
    planes = {float(generator.planes(generator.map(head[None])).planes.sum()): litre
              for head, litre in zip(candidates, litres, strict=True)}  # fmt: skip
    monkeypatch.setattr("backend.inversion.refine.hair_litres", lambda _, head: planes[float(head.planes.sum())])
    start = choose_start(generator, candidates, [silent], lambda done: None, chosen=1.0)
    torch.testing.assert_close(start, candidates[2:3])


def test_litres_of_hair_are_those_of_a_shell_around_the_bare_head(generator, monkeypatch):
    """A box of hair without any head in it has its volume."""
    points_inside = lambda head, points: (points[..., 1] - 0.05, None)  # noqa: E731
    monkeypatch.setattr(generator, "decode", points_inside)
    monkeypatch.setattr(generator, "body_distance", lambda points: torch.ones(len(points)))
    head = plain_head(generator)
    assert hair_litres(generator, head) == pytest.approx(1000 * 0.32 * 0.15 * 0.36, rel=1e-3)
