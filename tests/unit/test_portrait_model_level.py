# SPDX-License-Identifier: Apache-2.0
"""A ball whose surface is known, as a cloud: where does it look solid?"""

import numpy as np
import pytest

from backend.camera import look_at_camera
from backend.portrait_model.level import solid_level

CAMERAS = [look_at_camera(yaw_deg=yaw, pitch_deg=0.0, distance=2.7, focal=4.3) for yaw in (0.0, 60.0, -60.0)]
RADIUS = 0.25


def ball(softness, most=80.0):
    """Density that rises from 0 to ``most`` over a few ``softness`` around the radius."""

    def density(points):
        distance = np.linalg.norm(points, axis=1) - RADIUS
        return most / (1 + np.exp(np.clip(distance / softness, -60, 60)))

    return density


@pytest.mark.parametrize("softness", [0.004, 0.01])
def test_the_level_s_surface_lies_where_half_of_the_light_is_gone(softness):
    level = solid_level(ball(softness), CAMERAS, side=0.8, fallback=9.0)
    meshed = RADIUS + softness * np.log(80.0 / level - 1)
    way = np.linspace(0.4, 0.0, 40_001)  # The middle ray, from outside to the ball's middle.
    absorbed = np.cumsum(ball(softness)(np.stack([way, 0 * way, 0 * way], axis=1))) * (way[0] - way[1])
    half = way[np.searchsorted(absorbed, np.log(2))]
    assert meshed == pytest.approx(half, abs=0.007)
    assert meshed > half  # Other rays meet the ball at a slant and go dark a little further out.


def test_a_volume_that_is_nowhere_solid_keeps_the_published_level():
    assert solid_level(ball(0.01, most=1.0), CAMERAS, side=0.8, fallback=9.0) == 9.0


def test_what_lies_outside_the_cube_does_not_count():
    def shell(points):
        return np.where(np.abs(points).max(axis=1) > 0.4, 1000.0, ball(0.004)(points))

    level = solid_level(shell, CAMERAS, side=0.8, fallback=9.0)
    assert level == pytest.approx(solid_level(ball(0.004), CAMERAS, side=0.8, fallback=9.0))
