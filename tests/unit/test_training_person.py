# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.training import person as module
from backend.training.person import (
    TRAITS,
    map_heads,
    measure_people,
    person_directions,
    principal_parts,
    regression_slopes,
    shape_code,
    w_moves,
)
from tests.small_people import face_template, people
from tests.small_starter import small_generator, small_template


@pytest.fixture(scope="module")
def population():
    return people()


@pytest.fixture(scope="module")
def generator(population):
    return small_generator(z_dim=len(population.heads[0].z), bald=False).requires_grad_(False)


@pytest.fixture(scope="module")
def directions(generator, population):
    found = person_directions(face_template(), generator, population)
    return {direction.slider.name: direction for direction in found}


def test_regression_finds_known_slopes():
    random = np.random.default_rng(0)
    traits, truth = random.normal(size=(50, 3)) * [1, 2, 5] + 3, random.normal(size=(3, 7))
    values = (traits - traits.mean(0)) / traits.std(0) @ truth + 11
    np.testing.assert_allclose(regression_slopes(traits, values), truth, atol=1e-10)


def test_of_linear_traits_a_move_changes_its_own_by_a_deviation_and_no_other():
    random = np.random.default_rng(1)
    w = random.normal(size=(4000, 20)) @ random.normal(size=(20, 20))
    readers = random.normal(size=(20, len(TRAITS)))
    surface = w @ random.normal(size=(20, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RIDGE", 1e-9)
        moves = w_moves(w, w @ readers, surface)
    deviation = (w @ readers).std(0)
    for number, name in enumerate(TRAITS):
        changed = moves[name] @ readers / deviation
        assert changed[number] == pytest.approx(1, abs=1e-3)
        assert np.abs(np.delete(changed, number)).max() < 1e-3


def test_a_move_is_the_likeliest_of_those_that_do_the_same():
    """Adding anything that changes no measure makes it longer in standard deviations of ``w``."""
    random = np.random.default_rng(2)
    w = random.normal(size=(4000, 20)) * np.linspace(0.5, 3, 20)
    readers = random.normal(size=(20, len(TRAITS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RIDGE", 1e-9)
        move = w_moves(w, w @ readers, np.zeros((4000, 0)))["age"]
    precision = np.linalg.inv(np.cov(w.T))
    _, _, axes = np.linalg.svd(readers.T)
    for silent in axes[len(TRAITS) :]:
        assert abs(move @ precision @ silent) < 0.02 * np.sqrt(
            (move @ precision @ move) * (silent @ precision @ silent)
        )


def test_age_and_weight_move_the_codes_that_go_with_them(directions, population):
    spread = np.std([5 * (one.age - 0.7) for one in population.identities])
    assert directions["Age"].shape[0] == pytest.approx(spread, rel=1e-6) and abs(directions["Age"].shape[1]) < 1e-6
    assert directions["Weight"].shape[1] > 0.5
    assert directions["Age"].w.any() and not directions["Weight"].w.any()


def test_sliders_of_colour_move_neither_shape_nor_surface(directions):
    for name in ("Skin tone", "Hair colour", "Beard"):
        assert directions[name].recolors and directions[name].w.any() and not directions[name].shape.any()
    assert not directions["Hair volume"].recolors


def test_people_are_measured_where_their_skin_and_hair_are(generator, population):
    w = map_heads(generator, population.heads)[:3]
    traits, surface = measure_people(face_template(), generator, w)
    assert traits.shape == (3, 4) and surface.shape == (3, module.HAIR_PLACES)
    np.testing.assert_allclose(traits[:, 3], -surface.mean(1), atol=1e-7)
    assert (traits[:, :2] > 0).all() and (traits[:, :2] < 1).all()
    again, _ = measure_people(face_template(), generator, w[1:2])
    np.testing.assert_allclose(again[0], traits[1], atol=1e-6)


def test_principal_parts_keep_the_distances_between_people():
    random = np.random.default_rng(3)
    values = random.normal(size=(30, 2)) @ random.normal(size=(2, 50))
    parts = principal_parts(values, 2)
    truth = np.linalg.norm(values[:, None] - values[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(parts[:, None] - parts[None], axis=-1), truth, atol=1e-9)


def test_a_shape_code_is_read_back():
    template = small_template()
    flat = template.shape.reshape(len(template.shape), -1)
    orthogonal, _ = np.linalg.qr(flat.T)
    orthogonal = (orthogonal.T * 0.01).reshape(template.shape.shape)
    template = replace(template, shape=orthogonal)
    code = np.array([1.0, -0.5, 0.0, 2.0])
    vertices = template.vertices + template.neutral + np.tensordot(code, orthogonal, 1)
    np.testing.assert_allclose(shape_code(template, vertices), code, atol=1e-9)
