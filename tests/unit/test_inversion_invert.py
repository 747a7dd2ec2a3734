# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.alignment import Portrait
from backend.camera import look_at_camera, project, rays
from backend.directions import Codes
from backend.inversion import invert
from backend.inversion.invert import FittedPhoto, invert_photos
from backend.inversion.refine import RefineConfig
from tests.small_starter import AXES, EXPRESSIONS, SHAPES, egg_distance, front_points, small_starter

SIZE = 96
CAMERA = look_at_camera(yaw_deg=-15, pitch_deg=5, distance=1.2, focal=3.6)
FITTED = Codes(np.zeros((1, 1)), np.zeros(SHAPES), np.zeros(len(EXPRESSIONS)))


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(invert.REFINEMENT, "balanced", RefineConfig(code_steps=4, offset_steps=4, detail_steps=2))
        patch.setattr(invert, "REFINE_RAYS_PX", 48)
        yield


@pytest.fixture(scope="module")
def portrait():
    """The egg in one colour, and its matte."""
    origin, directions = rays(CAMERA, SIZE)
    along = np.arange(1.0, 1.4, 0.004)
    distance = np.stack([egg_distance(origin + step * directions) for step in along]).min(0)
    mask = torch.from_numpy((distance < 0).astype(np.float32))[None, None]
    image = torch.tensor([0.6, 0.1, -0.4])[None, :, None, None].expand(1, 3, SIZE, SIZE).contiguous()
    landmarks = project(CAMERA, front_points(478))[0] * SIZE
    chin = project(CAMERA, np.array([[0.0, -AXES[1], 0.0]]))[0][0] * SIZE
    landmarks[invert.CHIN] = chin
    return Portrait(image, np.eye(3), landmarks, np.zeros(478), torch.ones_like(mask)), mask


def inverted(starter, portrait, *, quality="balanced", seed=0, step=lambda done: None):
    photos = [FittedPhoto(*portrait, CAMERA, FITTED)]
    (codes,), losses = invert_photos(starter, photos, quality=quality, seed=seed, step=step)
    return codes, losses


def test_a_draft_is_the_best_candidate(starter, portrait):
    codes, losses = inverted(starter, portrait, quality="draft")
    candidates = starter.generator.map(starter.candidates).numpy()
    assert (np.abs(candidates - codes.ws).max(axis=(1, 2)) < 1e-6).any()
    assert codes.plane_offset is None and losses == {}


def test_the_fit_is_handed_on_as_it_is(starter, portrait):
    codes, _ = inverted(starter, portrait, quality="draft")
    assert codes.shape is FITTED.shape and codes.expression is FITTED.expression


def test_refinement_gives_an_offset_and_its_last_losses(starter, portrait):
    codes, losses = inverted(starter, portrait)
    config = starter.generator.config
    assert codes.ws.shape == (starter.generator.num_ws, config.w_dim)
    assert codes.plane_offset.shape == (3, config.plane_channels, config.plane_resolution, config.plane_resolution)
    assert np.abs(codes.plane_offset).max() > 0
    assert {"color", "silhouette", "bare_face", "symmetry"} <= set(losses)
    assert losses["silhouette"] < 0.3


def test_the_seed_decides(starter, portrait):
    one, again, other = (inverted(starter, portrait, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.plane_offset, again.plane_offset)
    assert not np.array_equal(one.plane_offset, other.plane_offset)


def test_progress_rises_to_the_end(starter, portrait):
    told = []
    inverted(starter, portrait, step=told.append)
    assert told == sorted(told) and told[0] > 0 and told[-1] == pytest.approx(1)
