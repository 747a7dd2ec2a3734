# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.camera import project
from backend.inversion.parametric import IRIS_LANDMARKS
from backend.training import calibrate as module
from backend.training.calibrate import Sighting, embedding_error, reprojection_errors
from backend.training.heads import HeadShapes
from backend.training.portraits import PortraitScene, PortraitStudio, portrait_camera
from backend.training.template import TemplateAnchors
from tests.small_starter import small_template


@pytest.fixture(scope="module")
def template():
    return small_template()


CAMERA = portrait_camera(yaw_deg=10, pitch_deg=-5)


def seen(template, vertices):
    corners = vertices[template.faces[template.landmark_faces]]
    return project(CAMERA, np.einsum("nci,nc->ni", corners, template.landmark_weights))[0]


def test_landmarks_where_they_belong_have_no_error(template):
    error = embedding_error(template, template.vertices, CAMERA, seen(template, template.vertices))
    np.testing.assert_allclose(error, np.zeros(IRIS_LANDMARKS), atol=1e-12)


def test_the_error_is_in_distances_between_the_eyes(template):
    """Of 63 mm, at the face's distance."""
    moved = template.vertices + 0.0063 * CAMERA.cam2world[:3, 0]
    error = embedding_error(template, template.vertices, CAMERA, seen(template, moved))
    np.testing.assert_allclose(error, 0.1, rtol=0.06)


def test_portraits_without_a_face_do_not_count(template, monkeypatch):
    heads, studio, scene = (kind.__new__(kind) for kind in (HeadShapes, PortraitStudio, PortraitScene))
    heads.makehuman, studio.template = None, template
    answers = iter([None, Sighting(np.zeros((19158, 3)), scene, CAMERA, seen(template, template.vertices)), None])
    monkeypatch.setattr(module, "_photographed", lambda *_: next(answers))
    monkeypatch.setattr(TemplateAnchors, "read", lambda *_: template.vertices)
    anchors = TemplateAnchors(np.zeros((1, 3), np.int64), np.ones((1, 3)) / 3)
    known, fitted = reprojection_errors(heads, studio, anchors, portraits=3, rng=np.random.default_rng(0))
    assert known.shape == (1, IRIS_LANDMARKS) and known.max() < 1e-9
    assert fitted.shape == (1,) and fitted[0] < 0.01
