# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np

from backend.head import PHOTO_EXPRESSION, MorphTarget, Slider, in_photo, opened_mesh
from backend.mesh import vertex_normals
from tests.analytic import example_head


def expressive_head(start):
    """A cube that is twice as high in the photo."""
    head = example_head()
    higher = MorphTarget(
        Slider(PHOTO_EXPRESSION, "Expression", 0.0, 1.0), head.mesh.vertices * np.float32([0, 1, 0]), start
    )
    return replace(head, morph_targets=[*head.morph_targets, higher])


def test_a_head_is_opened_with_its_sliders_where_they_start():
    head = expressive_head(0.5)
    np.testing.assert_allclose(opened_mesh(head).vertices, head.mesh.vertices * (1, 1.5, 1), atol=1e-6)


def test_a_head_whose_sliders_all_rest_is_opened_as_it_is():
    head = expressive_head(0.0)
    assert opened_mesh(head) is head.mesh


def test_in_the_photo_it_has_the_photo_s_expression_wherever_its_slider_starts():
    for start in (0.0, 1.0):
        head = expressive_head(start)
        np.testing.assert_allclose(in_photo(head).mesh.vertices, head.mesh.vertices * (1, 2, 1), atol=1e-6)


def test_normals_are_those_of_the_moved_surface():
    slanted = expressive_head(0.0)
    shear = MorphTarget(
        Slider(PHOTO_EXPRESSION, "Expression", 0.0, 1.0), slanted.mesh.vertices[:, [1, 0, 2]] * np.float32([1, 0, 0])
    )
    mesh = in_photo(replace(slanted, morph_targets=[shear])).mesh
    unseamed = replace(slanted, mesh=replace(slanted.mesh, canonical=np.arange(72, dtype=np.float32).reshape(24, 3)))
    faceted = in_photo(replace(unseamed, morph_targets=[shear])).mesh
    np.testing.assert_allclose(faceted.normals, vertex_normals(faceted.vertices, faceted.faces), atol=1e-6)
    # Copies of a corner share their normal: the sum over the three sides that meet there.
    corner = np.flatnonzero((mesh.canonical == mesh.canonical[0]).all(1))
    assert len(corner) == 3 and np.ptp(mesh.normals[corner], axis=0).max() == 0


def test_a_head_without_expressions_is_in_the_photo_as_it_is():
    head = example_head()
    assert in_photo(head).mesh is head.mesh
