# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import skimage.data

from backend import face_mesh_points as points
from backend.errors import ModelError, PhotoError
from backend.landmarks import detect_face, detect_faces
from tests.portraits import astronaut, astronaut_face, needs_photo_models, small_faces

pytestmark = needs_photo_models

# Read off the enlarged picture by eye, pixels: irises, inner eye corners, nose tip, mouth corners, chin.
MARKED = {
    points.RIGHT_IRIS: (203, 101.5),
    points.LEFT_IRIS: (246, 103.5),
    points.RIGHT_EYE_INNER: (213, 104),
    points.LEFT_EYE_INNER: (236.5, 105.5),
    points.NOSE_TIP: (223.5, 128),
    points.MOUTH_RIGHT: (203, 140),
    points.MOUTH_LEFT: (244.5, 141),
    points.CHIN: (225, 178),
}


def code_of(pixels, face_index=0):
    with pytest.raises(PhotoError) as raised:
        detect_face(replace(astronaut(), pixels=pixels), face_index)
    assert str(raised.value).endswith(".")
    return raised.value.code


def spread(found, expected):
    """Mean distance in eye distances of the astronaut."""
    return np.linalg.norm(found - expected, axis=1).mean() / astronaut_face().eye_distance_px


def test_the_astronauts_features_are_where_a_person_sees_them():
    found = astronaut_face().landmarks[list(MARKED)]
    assert np.linalg.norm(found - list(MARKED.values()), axis=1).max() < 4


def test_the_only_face_is_found_once():
    faces = detect_faces(astronaut().pixels)
    assert len(faces) == 1
    assert faces[0].score > 0.8
    np.testing.assert_allclose(faces[0].box, [180, 69, 92, 109], atol=6)
    assert abs(faces[0].yaw_deg) < 5


def test_a_mirrored_photo_has_mirrored_landmarks():
    (mirrored,) = detect_faces(np.ascontiguousarray(astronaut().pixels[:, ::-1]))
    expected = astronaut_face().landmarks[points.MIRROR]
    expected[:, 0] = 512 - expected[:, 0]
    assert spread(mirrored.landmarks, expected) < 0.01


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_has_turned_landmarks(turns):
    (turned,) = detect_faces(np.ascontiguousarray(np.rot90(astronaut().pixels, turns)))
    expected = astronaut_face().landmarks
    for _ in range(turns):
        expected = np.stack([expected[:, 1], 512 - expected[:, 0]], axis=1)
    assert spread(turned.landmarks, expected) < 0.05


def test_a_dark_and_noisy_photo_has_nearly_the_same_landmarks():
    rng = np.random.default_rng(0)
    poor = np.clip(astronaut().pixels * 0.3 + rng.normal(0, 6, (512, 512, 3)), 0, 255).astype(np.uint8)
    (face,) = detect_faces(poor)
    assert spread(face.landmarks, astronaut_face().landmarks) < 0.04


def test_several_faces_come_largest_first():
    faces = detect_faces(small_faces(120, count=2))
    assert [round(face.box[0] / 420) for face in faces] == [0, 1]
    assert faces[0].eye_distance_px == pytest.approx(2 * faces[1].eye_distance_px, rel=0.05)
    photo = replace(astronaut(), pixels=small_faces(120, count=2))
    np.testing.assert_allclose(detect_face(photo, 1).box, faces[1].box)


def test_a_face_number_that_does_not_exist_lists_the_faces():
    with pytest.raises(PhotoError, match=r"no face 3.*0 \(\d+ x \d+ pixels at \d+, \d+\)") as raised:
        detect_face(astronaut(), 3)
    assert raised.value.code == "face_index"


@pytest.mark.parametrize("face_px", [20, 40])
def test_a_face_too_small_to_work_on_is_refused(face_px):
    assert code_of(small_faces(face_px)) == "face_too_small"


@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_things_and_cats_are_no_faces(name):
    assert code_of(getattr(skimage.data, name)()) == "no_face"


def test_a_profile_is_refused_as_such():
    grey = skimage.data.camera()
    assert code_of(np.stack([grey] * 3, axis=-1)) == "face_profile"


def test_missing_networks_are_a_model_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    with pytest.raises(ModelError):
        detect_faces(astronaut().pixels)
