# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.camera import rays
from backend.training.appearance import sample_appearance
from backend.training.dataset import Painter
from backend.training.dressing import BALD, UNCUT_M, Dressing
from backend.training.pictures import (
    GREY,
    PARTS,
    FlatPicture,
    Tracer,
    TruePainter,
    flat_camera,
    generator_tracer,
    measure_pictures,
    predicted_picture,
    psnr,
)
from tests.small_dataset import small_canonical
from tests.small_starter import SIDE, plain_head, small_generator

RADIUS_M = 0.1


def ball(points):
    return points.norm(dim=-1) - RADIUS_M


@pytest.fixture(scope="module")
def canonical():
    return small_canonical()


@pytest.fixture(scope="module")
def bald(canonical):
    appearance = sample_appearance(np.random.default_rng(0), 0.9, 0.5, ancestry=np.full(3, 1 / 3))
    return Painter(canonical).paint(appearance, Dressing(BALD, 0.0, 0.09, UNCUT_M, 0), np.random.default_rng(0))


@pytest.mark.parametrize("yaw_deg", [0, 40, 180])
def test_rays_end_on_a_ball_exactly_where_they_meet_it(yaw_deg):
    camera = flat_camera(yaw_deg)
    points, hit = Tracer(ball, SIDE).trace(camera, 48)
    origin, directions = rays(camera, 48)
    towards = directions.reshape(-1, 3)
    along = -(towards @ origin)
    past = np.linalg.norm(origin + along[:, None] * towards, axis=1)
    clear = np.abs(past - RADIUS_M) > 0.001
    np.testing.assert_array_equal(hit[clear], (past < RADIUS_M)[clear])
    near = along - np.sqrt(np.maximum(RADIUS_M**2 - past**2, 0))
    seen = hit & (past < 0.9 * RADIUS_M)
    np.testing.assert_allclose(points[seen], (origin + near[:, None] * towards)[seen], atol=0.001)


def test_nothing_is_seen_of_what_leaves_the_cube():
    _, hit = Tracer(lambda points: points[:, 0] * 0 + 0.01, SIDE).trace(flat_camera(0), 16)
    assert not hit.any()


def test_psnr_is_its_definition():
    first = np.zeros((4, 4, 3))
    assert psnr(first, first + 0.1) == pytest.approx(20)
    second = first.copy()
    second[0, 0] = 0.1
    assert psnr(first, second, second[..., 0] > 0) == pytest.approx(20)


def test_a_bald_head_is_skin_above_its_top_and_grey_around(canonical, bald):
    painter = TruePainter(small_generator(), canonical)
    picture = painter.picture(bald, painter.tracer(bald), flat_camera(0), 32)
    assert picture.color.shape == (32, 32, 3) and picture.inside.shape == (32, 32)
    assert (picture.inside[0] == 0).all() and (picture.color[0] == GREY).all()
    assert PARTS[picture.part[16, 16]] == "skin" and PARTS[picture.part[23, 16]] == "top"
    assert set(np.unique(picture.part)) == {-1, 0, 3}


def test_hair_is_seen_where_it_is(canonical, bald):
    painter = TruePainter(small_generator(), canonical)
    hairy = replace(bald, dressing=replace(bald.dressing, style=0))
    picture = painter.picture(hairy, painter.tracer(hairy), flat_camera(180), 32)
    assert PARTS[picture.part[9, 16]] == "hair"


def test_the_generator_shows_its_own_surface_and_colors(canonical):
    generator = small_generator()
    planes = plain_head(generator)
    picture = predicted_picture(generator, planes, generator_tracer(generator, planes), flat_camera(0), 32)
    assert isinstance(picture, FlatPicture) and picture.inside[16, 16] == 1 and picture.inside[0, 0] == 0
    front = torch.tensor([[0.0, 0.0, 0.095]])
    _, color = generator.decode(planes, front[None])
    np.testing.assert_allclose(picture.color[16, 16], color[0, 0].clamp(0, 1).detach(), atol=0.05)


def test_measures_name_part_and_angle(canonical, bald):
    generator = small_generator(z_dim=len(bald.z))
    scores, sheet = measure_pictures(generator, [bald], canonical, yaws=(0,), size_px=32)
    assert {"full_0", "inside_0", "skin_0", "top_0"} <= set(scores) and "hair_0" not in scores
    assert sheet.shape == (32, 64, 3) and sheet.dtype == np.uint8
    assert np.isfinite(list(scores.values())).all()
