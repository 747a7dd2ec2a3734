# SPDX-License-Identifier: Apache-2.0
"""Generators of cats and cars: told from faces, given pictures as they are cropped, seen by searched cameras."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend import pipeline
from backend.camera import look_at_camera
from backend.catalogue import find_generator
from backend.checkpoint.install import add_model
from backend.config import Settings
from backend.errors import ModelError, PhotoError
from backend.generator.config import CameraConfig
from backend.inversion.cameras import cameras_of
from backend.inversion.method import PosedPortrait
from backend.inversion.plane_model import PlaneModel, front_camera
from backend.photo import Photo
from backend.portrait_model import opening
from backend.portrait_model.camera_search import orbit, search_camera
from backend.portrait_model.contract import PORTRAIT_PX, PersonPhoto, PortraitModel
from backend.portrait_model.cropped import CroppedModel
from backend.portrait_model.explore import COUNT
from tests.checkpoints import FACES, accept, network_file, network_state, refused, saved
from tests.small_starter import small_template
from tests.unit.test_portrait_model_published import IDENTITY, SMALL, small_generator

PLACE = CameraConfig(pivot=(0.0, 0.0, 0.0))
CATS = replace(SMALL, camera=PLACE)
CARS = replace(SMALL, render=replace(SMALL.render, white_back=True))


def cropped(config=CATS, subject="cat") -> CroppedModel:
    return CroppedModel(small_generator(config), IDENTITY, small_template(subdivisions=2), subject=subject)


def photo(height=96, width=96, fill=90) -> Photo:
    pixels = np.full((height, width, 3), fill, np.uint8)
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = np.random.default_rng(0).integers(
        0, 200, (height - 2 * (height // 4), width - 2 * (width // 4), 3)
    )
    return Photo(pixels, None, "", "picture.png")


# --- which are they ---------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(("pivot", "subject"), [([0, 0, -0.06], "cat"), ([0, 0, 0.2], "face")])
def test_the_look_at_point_tells_cats_from_faces(home, pivot, subject):
    added = add_model(network_file(home, rendering=FACES | {"avg_camera_pivot": pivot}), accept=accept)
    assert added.subject == find_generator("network").subject == subject


def test_the_user_s_word_counts_more_than_the_file_s(home):
    added = add_model(network_file(home), accept=accept, subject="car")
    assert added.subject == find_generator("network").metadata["subject"] == "car"


def test_bare_tensors_tell_nothing_and_the_user_is_told(home):
    file = saved(home, network_state())
    assert "--subject" in add_model(file, accept=accept).remarks[-1]
    added = add_model(file, accept=accept, name="cats", subject="cat")
    assert not any("--subject" in remark for remark in added.remarks)
    assert '"pivot": [0.0, 0.0, -0.06]' in find_generator("cats").metadata["config"]


def test_a_model_keeps_its_subject_when_its_own_file_is_added_again(home):
    add_model(network_file(home), accept=accept, subject="cat")
    added = add_model(find_generator("network").path, accept=accept, name="again")
    assert added.subject == "cat"


def test_only_eg3d_s_generators_make_other_things(home):
    from tests.checkpoints import GRID

    file = saved(home, network_state(GRID))
    assert refused(lambda: add_model(file, accept=accept, subject="cat"), ModelError).code == "checkpoint_network"


def test_a_model_of_cats_is_opened_as_one(home):
    add_model(network_file(home), accept=accept, name="cats", subject="cat")
    model = opening.open_model(Settings(model="cats", device="cpu"))
    assert isinstance(model, CroppedModel) and model.subject == "cat" and isinstance(model, PortraitModel)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_square_picture_is_taken_whole_without_looking_for_faces(monkeypatch):
    monkeypatch.setattr(pipeline, "detect_face_among", None)
    monkeypatch.setattr(pipeline, "segment_head", None)
    found = pipeline._find(cropped(), [photo()], Settings())
    portrait, mask = found.photos[0].portrait, found.photos[0].mask
    assert found.faces == found.among == []
    assert portrait.image.shape == (1, 3, PORTRAIT_PX, PORTRAIT_PX) and len(portrait.landmarks) == 0
    assert mask.min() == 1 and portrait.coverage.min() == 1
    back = ((portrait.image[0, :, 256, 256] + 1) * 127.5).round().numpy()
    assert np.abs(back - photo().pixels[46:50, 46:50].reshape(-1, 3)).min(0).max() < 120
    np.testing.assert_allclose(portrait.photo_to_portrait @ [96, 0, 1], [PORTRAIT_PX, 0, 1])


@pytest.mark.parametrize("size", [(96, 64), (64, 100)])
def test_a_picture_that_is_not_square_is_refused_with_what_to_do(size):
    with pytest.raises(PhotoError, match=r"Crop it to a square with the cat's face") as caught:
        cropped().crop(photo(*size))
    assert caught.value.code == "photo_not_square"


def test_what_stands_on_white_gets_its_outline():
    _, mask = cropped(CARS, "car").crop(photo(fill=255))
    inner, edge = mask[0, 0, 140:372, 140:372], mask[0, 0, :100]
    assert inner.min() == 1 and edge.max() == 0
    with pytest.raises(PhotoError, match="not on white") as caught:
        cropped(CARS, "car").crop(photo())
    assert caught.value.code == "photo_background"


# --- cameras ----------------------------------------------------------------------------------------------------------


def test_an_orbit_is_a_level_camera_that_looks_at_the_origin():
    turn = torch.tensor([np.radians(25.0), np.radians(-10.0), 0, 0, 0, 0])
    expected = look_at_camera(yaw_deg=25.0, pitch_deg=-10.0, distance=2.7, focal=4.2647)
    found = orbit(turn, PLACE)
    np.testing.assert_allclose(found.cam2world[0], expected.cam2world, atol=1e-6)
    np.testing.assert_allclose(found.intrinsics[0], expected.intrinsics, atol=1e-6)
    generator = small_generator(CATS)
    front = cameras_of(front_camera(generator))
    np.testing.assert_allclose(orbit(torch.zeros(6), PLACE).cam2world, front.cam2world, atol=1e-2)


def test_roll_shift_and_zoom_turn_move_and_enlarge_the_picture():
    points = torch.tensor([[[0.1, 0.05, 0.0], [-0.1, 0.2, 0.1]]])
    plain, _ = orbit(torch.zeros(6), PLACE).project(points)
    rolled, _ = orbit(torch.tensor([0, 0, np.pi / 2, 0, 0, 0]).float(), PLACE).project(points)
    centred = plain - 0.5
    torch.testing.assert_close(rolled - 0.5, torch.stack([centred[..., 1], -centred[..., 0]], -1), atol=1e-6, rtol=0)
    shifted, _ = orbit(torch.tensor([0, 0, 0, 0.1, -0.2, 0]), PLACE).project(points)
    torch.testing.assert_close(shifted, plain + torch.tensor([0.1, -0.2]), atol=1e-6, rtol=0)
    zoomed, _ = orbit(torch.tensor([0, 0, 0, 0, 0, np.log(2.0)]).float(), PLACE).project(points)
    torch.testing.assert_close(zoomed - 0.5, 2 * centred, atol=1e-5, rtol=0)


def test_the_search_finds_the_camera_that_a_picture_was_taken_with():
    model = PlaneModel(small_generator(CATS), average_samples=50)
    true = torch.tensor([np.radians(26.0), np.radians(9.0), 0.05, 0, 0, 0]).float()
    random = torch.Generator().manual_seed(0)
    ws = model.mean_ws + 0.1 * model.ws_std / 4 * torch.randn(model.mean_ws.shape, generator=random)
    with torch.no_grad():
        image = model.head(ws).render(orbit(true, PLACE), size_px=16, superresolve=False).image
    whole = torch.ones_like(image[:, :1])
    picture = PosedPortrait(image, whole, whole, orbit(torch.zeros(6), PLACE))
    found = search_camera(model, picture, PLACE, yaws_deg=(0, 20, -20, 40, -40), pitches_deg=(0, 15, -15))
    assert (found.yaw_deg, found.pitch_deg) == (pytest.approx(26, abs=3), pytest.approx(9, abs=3))


# --- as a model -------------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch):
    """What the inversion was given."""
    from backend.inversion.method import Inversion
    from backend.portrait_model import camera_search, published

    given = []
    monkeypatch.setattr(camera_search, "STEPS", 1)

    def invert(method, model, portraits, **options):
        given.append((portraits[0], options))
        return Inversion(model.mean_ws)

    monkeypatch.setattr(published, "invert", invert)
    monkeypatch.setattr(published, "metres_per_unit", None)
    return given


def test_the_inversion_begins_at_the_searched_camera_and_code_without_anything_that_needs_a_face(seen):
    model = cropped()
    portrait, mask = model.crop(photo())
    photos = [PersonPhoto(photo(), portrait, mask)]
    fit = model.fit(photos)
    (codes,), _ = model.invert(fit, photos, settings=Settings(), step=lambda _: None)
    ((posed, options),) = seen
    assert options["is_symmetric"] and not cropped(CARS, "car").placement.is_symmetric
    assert posed.landmarks is None and options["perception"] is None and options["encoder"] is None
    np.testing.assert_allclose(options["start"].ws[0], fit.codes[0].ws)
    np.testing.assert_allclose(posed.cameras.cam2world[0], fit.cameras[0].cam2world, atol=1e-6)
    assert set(fit.scores) == {"yaw_deg", "pitch_deg"} and codes.metres_per_unit == model.placement.metres_per_unit
    assert len(model.directions) == COUNT and "makes cats" in model.notes(codes)[0]
