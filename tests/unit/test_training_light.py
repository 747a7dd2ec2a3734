# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.training.light import (
    Lamp,
    Light,
    bounce,
    direction_from_angles,
    key_share,
    linear_from_bytes,
    linear_from_srgb,
    sample_light,
    skin_highlight,
    sphere_directions,
    srgb_from_linear,
    strand_highlight,
    studio_light,
    surroundings,
    tone_map,
)

DARK = Light(np.array([0.0, 0.0, 1.0]), np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), exposure=1.0, softness=0.0)


def test_srgb_and_linear_are_inverse_and_known_at_the_middle():
    values = np.linspace(0, 1, 101)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-6)
    np.testing.assert_allclose(linear_from_srgb(np.array([0.5])), 0.21404, atol=1e-5)


def test_bytes_become_the_same_light_as_their_numbers():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(linear_from_bytes(every), linear_from_srgb(every / 255.0))


def test_tone_map_keeps_dark_values_and_never_reaches_white():
    values = np.linspace(0, 50, 2001)
    mapped = tone_map(values)
    np.testing.assert_allclose(mapped[values <= 0.65], values[values <= 0.65])
    assert (np.diff(mapped) > 0).all() and mapped.max() < 1


@pytest.mark.parametrize(("angles", "expected"), [((0, 0), (0, 0, 1)), ((90, 0), (1, 0, 0)), ((0, 90), (0, 1, 0))])
def test_light_directions(angles, expected):
    np.testing.assert_allclose(direction_from_angles(*angles), expected, atol=1e-12)


def test_skin_that_faces_the_key_takes_all_of_it_and_none_in_shadow_or_behind():
    facing, lit = np.array([1.0, 1.0, 0.5, -1.0]), np.array([1.0, 0.0, 0.5, 1.0])
    share = key_share(facing, lit)
    np.testing.assert_allclose(share[[0, 1, 3]], [[1] * 3, [0] * 3, [0] * 3])
    assert (share[2] > 0.25).all() and (share[2] < 0.35).all()


def test_light_creeps_further_in_red_past_the_shadow_line():
    red, green, blue = key_share(np.zeros(1), np.ones(1))[0]
    assert red > green > blue > 0


def test_a_crease_in_white_stays_brighter_than_in_black():
    half = np.full(1, 0.5)
    light = np.full((1, 3), 0.4)
    np.testing.assert_allclose(bounce(np.zeros((1, 3)), light, half), 0.4)
    assert bounce(np.ones((1, 3)), light, half).min() > 0.6
    np.testing.assert_allclose(bounce(np.ones((1, 3)), light, np.ones(1)), 0.4)


def light_on(normal, light, count=400):
    directions = sphere_directions(count)
    cosine = np.maximum(directions @ normal, 0)
    return cosine @ surroundings(light, directions) / cosine.sum()


def test_sky_lights_from_above_and_ground_from_below():
    light = replace(DARK, sky=np.full(3, 0.9), ground=np.full(3, 0.1))
    for normal, expected in (((0, 1, 0), 0.9), ((0, -1, 0), 0.1), ((0, 0, 1), 0.5)):
        np.testing.assert_allclose(light_on(np.array(normal, dtype=float), light), expected, atol=0.02)


@pytest.mark.parametrize("softness", [0.05, 0.4, 0.8])
def test_a_lamp_gives_its_color_to_a_surface_that_faces_it(softness):
    color, towards = np.array([0.7, 0.5, 0.3]), direction_from_angles(60, 20)
    light = replace(DARK, lamps=(Lamp(towards, color, softness),))
    np.testing.assert_allclose(light_on(towards, light), color, rtol=0.02)
    # A sharp one falls off with the cosine, and reaches nothing behind.
    if softness < 0.1:
        side = np.cross(towards, [0.0, 1.0, 0.0])
        tilted = (towards + side / np.linalg.norm(side)) / 2**0.5
        np.testing.assert_allclose(light_on(tilted, light), color / 2**0.5, rtol=0.06)
        assert light_on(-towards, light).max() < 0.01


def test_directions_are_unit_and_balanced():
    directions = sphere_directions(64)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.mean(axis=0), 0, atol=0.02)


def test_shinier_surfaces_reflect_a_sharper_and_stronger_light():
    ahead = np.array([[0.0, 0.0, 1.0]] * 2)
    shine = np.array([0.2, 1.0])
    straight = skin_highlight(ahead, ahead, np.array([0.0, 0.0, 1.0]), shine)
    aside = skin_highlight(ahead, ahead, direction_from_angles(40, 0), shine)
    assert straight[1] > straight[0] > 0
    assert aside[1] / straight[1] < 0.1 * aside[0] / straight[0]
    assert not skin_highlight(ahead, ahead, np.array([0.0, 0.0, -1.0]), shine).any()


def test_hair_shines_most_where_it_runs_across_the_light():
    angles = np.radians(np.arange(-90, 91))
    strand = np.stack([np.zeros(len(angles)), np.cos(angles), np.sin(angles)], axis=1)
    ahead = np.tile([0.0, 0.0, 1.0], (len(angles), 1))
    first, second = strand_highlight(strand, ahead, np.array([0.0, 0.0, 1.0]), np.zeros(len(angles)))
    # The white reflection is shifted towards the root, the coloured one towards the tip.
    assert -8 < np.degrees(angles[first.argmax()]) < 0 < np.degrees(angles[second.argmax()]) < 12
    leaning, _ = strand_highlight(strand, ahead, np.array([0.0, 0.0, 1.0]), np.full(len(angles), 0.1))
    assert angles[leaning.argmax()] < angles[first.argmax()]


def test_sampled_lights_repeat_and_are_usable():
    for seed in range(200):
        light, again = (sample_light(np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(light.key, again.key)
        np.testing.assert_allclose(np.linalg.norm(light.direction), 1)
        assert min(light.key.min(), light.sky.min(), light.ground.min(), light.front.min()) >= 0
        assert all(lamp.color.min() >= 0 for lamp in light.lamps)
        assert light.to_vector().shape == (15,) and np.isfinite(light.to_vector()).all()
        # A facing white surface is neither black nor far beyond white.
        ahead = np.array([0.0, 0.0, 1.0])
        received = light_on(ahead, light) + light.key * key_share(ahead @ light.direction[:, None], np.ones(1))[0]
        assert 0.3 < light.exposure * received.mean() < 2
    assert studio_light().exposure == 1
