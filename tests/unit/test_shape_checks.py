# SPDX-License-Identifier: Apache-2.0
"""The shapes in signatures are checked while tests run (tests/conftest.py)."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from backend.camera import look_at_camera, project
from backend.mesh import Mesh


def test_a_point_with_four_coordinates_is_refused():
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=2, focal=4)
    project(camera, np.zeros((5, 3)))
    with pytest.raises(TypeCheckError):
        project(camera, np.zeros((5, 4)))


def test_normals_that_do_not_fit_the_vertices_are_refused():
    faces = np.zeros((1, 3), dtype=np.int64)
    Mesh(np.zeros((5, 3)), faces, normals=np.zeros((5, 3)))
    with pytest.raises(TypeCheckError):
        Mesh(np.zeros((5, 3)), faces, normals=np.zeros((4, 3)))
