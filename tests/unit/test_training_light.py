# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.training.light import (
    Light,
    direction_from_angles,
    linear_from_srgb,
    sample_light,
    shade,
    srgb_from_linear,
    studio_light,
    tone_map,
)

DARK = Light(np.array([0.0, 0.0, 1.0]), np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), exposure=1.0, softness=0.0)


def shade_one(light, normal, *, albedo=0.5, lit=1.0, openness=1.0, shine=0.0):
    one = np.ones(1)
    return shade(
        np.full((1, 3), albedo), np.array([normal]), np.array([[0.0, 0.0, 1.0]]), light,
        lit=lit * one, openness=openness * one, shine=shine * one,
    )[0]  # fmt: skip


def test_srgb_and_linear_are_inverse_and_known_at_the_middle():
    values = np.linspace(0, 1, 101)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-6)
    np.testing.assert_allclose(linear_from_srgb(np.array([0.5])), 0.21404, atol=1e-5)


def test_tone_map_keeps_dark_values_and_never_reaches_white():
    values = np.linspace(0, 50, 2001)
    mapped = tone_map(values)
    np.testing.assert_allclose(mapped[values <= 0.65], values[values <= 0.65])
    assert (np.diff(mapped) > 0).all() and mapped.max() < 1


@pytest.mark.parametrize(("angles", "expected"), [((0, 0), (0, 0, 1)), ((90, 0), (1, 0, 0)), ((0, 90), (0, 1, 0))])
def test_light_directions(angles, expected):
    np.testing.assert_allclose(direction_from_angles(*angles), expected, atol=1e-12)


def test_a_facing_dull_surface_shows_its_albedo_times_the_key():
    light = replace(DARK, key=np.array([0.8, 0.6, 0.4]))
    np.testing.assert_allclose(shade_one(light, (0.0, 0.0, 1.0)), [0.4, 0.3, 0.2])


def test_shadow_and_back_faces_get_no_key_light():
    light = replace(DARK, key=np.ones(3))
    np.testing.assert_allclose(shade_one(light, (0.0, 0.0, 1.0), lit=0.0), 0)
    np.testing.assert_allclose(shade_one(light, (0.0, 0.0, -1.0)), 0)


def test_light_creeps_further_in_red_past_the_shadow_line():
    red, green, blue = shade_one(replace(DARK, key=np.ones(3)), (1.0, 0.0, 0.0))
    assert red > green > blue > 0


def test_sky_lights_from_above_and_ground_from_below():
    light = replace(DARK, sky=np.full(3, 0.9), ground=np.full(3, 0.1))
    np.testing.assert_allclose(shade_one(light, (0.0, 1.0, 0.0)), 0.45)
    np.testing.assert_allclose(shade_one(light, (0.0, -1.0, 0.0)), 0.05)
    np.testing.assert_allclose(shade_one(light, (0.0, 1.0, 0.0), openness=0.0), 0)


def test_shiny_surfaces_reflect_the_key_light():
    light = replace(DARK, key=np.ones(3))
    assert (shade_one(light, (0.0, 0.0, 1.0), shine=1.0) > 1.2 * shade_one(light, (0.0, 0.0, 1.0))).all()


def test_sampled_lights_repeat_and_are_usable():
    for seed in range(200):
        light, again = (sample_light(np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(light.key, again.key)
        np.testing.assert_allclose(np.linalg.norm(light.direction), 1)
        assert min(light.key.min(), light.sky.min(), light.ground.min(), light.front.min()) >= 0
        # A facing white surface is neither black nor far beyond white.
        assert 0.3 < light.exposure * shade_one(light, (0.0, 0.0, 1.0), albedo=1.0).mean() < 2
    assert studio_light().exposure == 1
