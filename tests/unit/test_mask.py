# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.draw import polygon2mask

from backend import face_mesh_points as points
from backend import mask as mask_module
from backend.alignment import Portrait, align_portrait
from backend.errors import ModelError, PhotoError
from backend.landmarks import Face, detect_face
from backend.mask import guided_filter, segment_head
from tests.portraits import astronaut, astronaut_face, needs_photo_models

# Her outline read off the picture by eye: hair, then down to the chin.
HEAD_INSIDE = [(225, 22), (180, 40), (168, 80), (175, 105), (195, 150), (225, 172), (255, 150), (278, 100), (270, 50)]
BACKGROUND = [(40, 20), (110, 60), (140, 30), (145, 120), (310, 40), (305, 110), (320, 20)]


def numpy_guided_filter(image, values, radius, smoothing):
    """The defining sums, window by window."""
    size = len(values)

    def window(i, j):
        return (slice(max(i - radius, 0), i + radius + 1), slice(max(j - radius, 0), j + radius + 1))

    slope, offset = np.zeros((size, size, 3)), np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        colours = image[window(i, j)].reshape(-1, 3)
        inside = values[window(i, j)].ravel()
        spread = np.cov(colours.T, bias=True) + smoothing * np.eye(3)
        covariance = (colours * inside[:, None]).mean(0) - colours.mean(0) * inside.mean()
        slope[i, j] = np.linalg.solve(spread, covariance)
        offset[i, j] = inside.mean() - slope[i, j] @ colours.mean(0)
    result = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        mean_slope = slope[window(i, j)].reshape(-1, 3).mean(0)
        result[i, j] = mean_slope @ image[i, j] + offset[window(i, j)].mean()
    return result


def test_the_guided_filter_equals_its_definition():
    rng = np.random.default_rng(0)
    image, values = rng.uniform(size=(12, 12, 3)), rng.uniform(size=(12, 12))
    expected = numpy_guided_filter(image, values, 2, mask_module.FILTER_SMOOTHING)
    found = guided_filter(
        torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(values)[None, None], radius=2
    )
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-6)


def test_the_guided_filter_moves_a_soft_edge_onto_the_images_edge():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 30:] = 0.8
    blurred = torch.sigmoid((torch.arange(64.0) - 33) / 3).expand(1, 1, 64, 64)
    filtered = guided_filter(image, blurred, radius=6)[0, 0, 32]
    jump_before = (blurred[0, 0, 32, 30] - blurred[0, 0, 32, 29]).item()
    assert (filtered[30] - filtered[29]).item() > 4 * jump_before


def test_the_guided_filter_leaves_a_constant():
    constant = torch.full((1, 1, 64, 64), 0.3)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(guided_filter(image, constant, radius=6), constant, atol=1e-4, rtol=0)


def blank_portrait(landmarks, size_px=64):
    image, coverage = torch.zeros(1, 3, size_px, size_px), torch.ones(1, 1, size_px, size_px)
    return Portrait(image, np.eye(3), landmarks, np.zeros(len(landmarks)), coverage)


def test_parts_that_do_not_touch_the_face_are_removed():
    person = torch.zeros(1, 1, 64, 64)
    person[..., 20:50, 20:40] = 1
    other = torch.zeros(1, 1, 64, 64)
    other[..., :, 50:] = 1
    portrait = blank_portrait(np.random.default_rng(0).uniform(25, 35, (478, 2)))
    kept = (person + other) * mask_module._belongs_to_face(person + other, portrait)
    torch.testing.assert_close(kept, person)


@pytest.mark.parametrize("parts", [0, 1])
def test_a_face_that_no_part_holds_is_a_photo_error(parts):
    """Whether somebody else stands beside it or not."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :, 50:] = parts
    portrait = blank_portrait(np.random.default_rng(0).uniform(25, 35, (478, 2)))
    with pytest.raises(PhotoError, match="plain background") as caught:
        mask_module._belongs_to_face(mask, portrait)
    assert caught.value.code == "no_person"


def face_at(x, y, height):
    """A flat face of a height, its middle at a place; only what places heads is given."""
    landmarks = np.full((478, 2), [x, y], float)
    landmarks[points.FOREHEAD_TOP], landmarks[points.CHIN] = (x, y - height / 2), (x, y + height / 2)
    for right, left in ((points.RIGHT_CHEEK, points.LEFT_CHEEK), (points.RIGHT_EYE_OUTER, points.LEFT_EYE_OUTER)):
        landmarks[right], landmarks[left] = (x - height / 3, y), (x + height / 3, y)
    return Face(np.array([x, y, 1.0, 1.0]), 1.0, landmarks, np.zeros(478))


def test_another_person_hides_what_is_nearer_to_them():
    portrait = replace(blank_portrait(np.zeros((478, 2)), 100), photo_to_portrait=np.diag([0.5, 0.5, 1.0]))
    alone = mask_module.without_others(portrait, face_at(100, 100, 60), [face_at(180, 100, 60)]).coverage[0, 0]
    # Heads of equal height: the border stands half-way, at 140 in the photo and 70 in the portrait.
    assert (alone[50, :70] == 1).all() and (alone[50, 70:] == 0).all()
    assert alone[0, 95] == 1, "above the other head is background, which stays known to be empty"
    assert alone[99, 90] == 0, "shoulders"


def test_a_small_face_in_the_background_hides_little():
    portrait = blank_portrait(np.zeros((478, 2)), 100)
    alone = mask_module.without_others(portrait, face_at(40, 50, 40), [face_at(90, 20, 6)]).coverage
    assert 0 < (alone == 0).float().mean() < 0.1


def test_alone_a_portrait_stays_as_it_is():
    portrait = blank_portrait(np.zeros((478, 2)))
    assert mask_module.without_others(portrait, face_at(30, 30, 20), []) is portrait


@pytest.fixture(scope="module")
def astronaut_mask():
    portrait = align_portrait(astronaut(), astronaut_face())
    return portrait, segment_head(portrait)


def at(portrait, mask, places):
    x, y = (np.array(places) @ portrait.photo_to_portrait[:2, :2].T + portrait.photo_to_portrait[:2, 2]).astype(int).T
    return mask[0, 0, y, x].numpy()


@needs_photo_models
def test_the_astronauts_head_is_inside_and_the_wall_is_not(astronaut_mask):
    portrait, mask = astronaut_mask
    assert mask.shape == (1, 1, 512, 512)
    assert 0 <= mask.min() <= mask.max() <= 1
    inside = np.argwhere(polygon2mask((512, 512), np.array(HEAD_INSIDE)))
    assert (at(portrait, mask, inside) > 0.9).mean() > 0.99
    assert at(portrait, mask, BACKGROUND).max() < 0.05


@needs_photo_models
def test_the_masks_edge_is_sharp(astronaut_mask):
    mask = astronaut_mask[1]
    assert ((mask > 0.05) & (mask < 0.95)).float().mean() < 0.04


@needs_photo_models
def test_nothing_outside_the_photo_is_the_person():
    photo = astronaut()
    cut = replace(photo, pixels=np.ascontiguousarray(photo.pixels[60:, 150:]))
    portrait = align_portrait(cut, detect_face(cut))
    mask = segment_head(portrait)
    assert (mask[portrait.coverage == 0] == 0).all()
    assert mask[portrait.coverage == 1].mean() > 0.3


@needs_photo_models
def test_a_missing_network_is_a_model_error(tmp_path, monkeypatch):
    portrait = align_portrait(astronaut(), astronaut_face())
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    with pytest.raises(ModelError):
        segment_head(portrait)
