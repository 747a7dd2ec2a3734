# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.camera import project
from backend.inversion.parametric import IRIS_LANDMARKS
from backend.landmark_errors import POSE_TERMS, LandmarkErrors, in_image
from backend.training import calibrate as module
from backend.training.calibrate import (
    FoundFace,
    calibrated_template,
    embedding_error,
    reprojection,
    reprojection_errors,
)
from backend.training.heads import HeadShapes
from backend.training.portraits import PortraitScene, PortraitStudio, portrait_camera
from backend.training.prepare import Prepared
from backend.training.template import TemplateAnchors
from tests.small_starter import small_template


@pytest.fixture(scope="module")
def template():
    return small_template()


CAMERA = portrait_camera(yaw_deg=10, pitch_deg=-5)


def seen(template, vertices):
    corners = vertices[template.faces[template.landmark_faces]]
    return project(CAMERA, np.einsum("nci,nc->ni", corners, template.landmark_weights))[0]


def points(template, vertices):
    corners = vertices[template.faces[template.landmark_faces[:IRIS_LANDMARKS]]]
    return np.einsum("nci,nc->ni", corners, template.landmark_weights[:IRIS_LANDMARKS])


def test_landmarks_where_they_belong_have_no_error(template):
    found = reprojection(template, template.vertices, CAMERA, seen(template, template.vertices))
    np.testing.assert_allclose(found.known, np.zeros(IRIS_LANDMARKS), atol=1e-12)
    np.testing.assert_allclose(found.posed, np.zeros(IRIS_LANDMARKS), atol=1e-6)
    np.testing.assert_allclose(found.expected, np.zeros(IRIS_LANDMARKS), atol=1e-6)


def test_the_error_is_in_distances_between_the_eyes(template):
    """Of 63 mm, at the face's distance."""
    moved = template.vertices + 0.0063 * CAMERA.cam2world[:3, 0]
    error = embedding_error(points(template, template.vertices), CAMERA, seen(template, moved)[:IRIS_LANDMARKS])
    np.testing.assert_allclose(error, 0.1, rtol=0.06)


def test_a_face_seen_elsewhere_is_the_cameras_fault_not_the_heads(template):
    moved = template.vertices + 0.0063 * CAMERA.cam2world[:3, 0]
    found = reprojection(template, template.vertices, CAMERA, seen(template, moved))
    assert np.median(found.known) > 0.09 and np.median(found.posed) < 0.002


def test_what_is_known_of_the_detector_is_taken_away(template):
    random = np.random.default_rng(0)
    bias = np.zeros((POSE_TERMS, IRIS_LANDMARKS, 2))
    bias[0] = random.normal(0, 0.002, (IRIS_LANDMARKS, 2))
    errors = LandmarkErrors(bias, np.zeros((0, IRIS_LANDMARKS, 2)), np.full(IRIS_LANDMARKS, 0.001))
    exact = seen(template, template.vertices)
    exact[:IRIS_LANDMARKS] += in_image(CAMERA, points(template, template.vertices), bias[0])
    found = reprojection(replace(template, landmark_errors=errors), template.vertices, CAMERA, exact)
    assert np.median(found.posed) > 0.02 and np.median(found.expected) < 0.002


def test_a_calibrated_template_is_kept_until_anything_of_it_changes(template, tmp_path, monkeypatch):
    prepared, heads, asked = Prepared.__new__(Prepared), HeadShapes.__new__(HeadShapes), []
    heads.makehuman = None
    for name in ("canonical", "parted_base"):
        object.__setattr__(prepared, name, None)
    for name in ("BodySolid", "PortraitStudio"):
        monkeypatch.setattr(module, name, lambda *_: None)

    def calibrate(*_, portraits, **__):
        asked.append(portraits)
        return replace(prepared.template, landmark_noise=np.full(478, float(portraits)))

    monkeypatch.setattr(module, "calibrate_landmarks", calibrate)

    def found(known, portraits):
        object.__setattr__(prepared, "template", known)
        return calibrated_template(heads, prepared, tmp_path, portraits=portraits, log=print).landmark_noise[0]

    assert [found(template, count) for count in (3, 3, 4, 3, 4)] == [3, 3, 4, 3, 4] and asked == [3, 4]
    changes = {"neutral": template.neutral + 1e-6, "expression": 2 * template.expression,
               "on_eye": np.zeros(len(template.vertices), bool)}  # fmt: skip
    for name, value in changes.items():
        found(replace(template, **{name: value}), 3)
    assert asked == [3, 4, 3, 3, 3] and len(list(tmp_path.iterdir())) == 5


def test_portraits_without_a_face_do_not_count(template, monkeypatch):
    heads, studio, scene = (kind.__new__(kind) for kind in (HeadShapes, PortraitStudio, PortraitScene))
    heads.makehuman, studio.template = None, template
    answers = iter([None, FoundFace(np.zeros((19158, 3)), scene, CAMERA, seen(template, template.vertices)), None])
    monkeypatch.setattr(module, "_photographed", lambda *_: next(answers))
    monkeypatch.setattr(TemplateAnchors, "read", lambda *_: template.vertices)
    anchors = TemplateAnchors(np.zeros((1, 3), np.int64), np.ones((1, 3)) / 3)
    (found,) = reprojection_errors(heads, studio, anchors, portraits=3, rng=np.random.default_rng(0))
    assert found.known.shape == (IRIS_LANDMARKS,) and found.known.max() < 1e-9
    assert np.median(found.fitted) < 0.01
