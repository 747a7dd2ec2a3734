# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.training.measures import MEASURES, measure_gradients, measure_places, shape_moves
from tests.small_people import COMPONENTS, face_template


@pytest.fixture(scope="module")
def template():
    return face_template()


def test_gradients_are_the_differences_of_measured_heads(template):
    gradients = measure_gradients(template)
    rest = measure_places(template, template.vertices)
    for number in range(COMPONENTS):
        moved = template.vertices + template.shape[number]
        np.testing.assert_allclose(measure_places(template, moved) - rest, gradients[:, number], atol=1e-12)


def test_a_measure_is_the_distance_of_its_ends(template):
    places = np.einsum(
        "nci,nc->ni", template.vertices[template.faces[template.landmark_faces]], template.landmark_weights
    )
    measured = dict(zip(MEASURES, measure_places(template, template.vertices), strict=True))
    assert measured["Nose length"] == pytest.approx(places[168, 1] - places[2, 1])
    brows, lids = places[[105, 334], 1].mean(), places[[159, 386], 1].mean()
    assert measured["Brow height"] == pytest.approx(brows - lids)


def test_a_uniformly_larger_head_is_larger_in_every_width(template):
    rest, larger = (measure_places(template, scale * template.vertices) for scale in (1.0, 1.1))
    np.testing.assert_allclose(larger, 1.1 * rest, atol=1e-12)


def test_of_independent_measures_moves_change_one_alone():
    gradients = np.diag([2.0, 0.5, 3.0, 1.0])[:3]
    moves = shape_moves(gradients)
    np.testing.assert_allclose(gradients @ moves.T, np.diag([2.0, 0.5, 3.0]), atol=1e-12)


def test_of_dependent_measures_each_still_moves_by_a_deviation():
    gradients = np.array([[1.0, 0.0], [1.0, 0.2]])
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    changed = unit @ shape_moves(gradients).T
    np.testing.assert_allclose(np.diag(changed), 1)
    assert np.abs(changed - np.diag(np.diag(changed))).max() < 0.9
