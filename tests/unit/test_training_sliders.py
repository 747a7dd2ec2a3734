# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from backend.directions import Codes, move
from backend.template import Template
from backend.training.appearance import NAMES, sample_appearance
from backend.training.dataset import Dressing, TrainingHead, describe, sample_dressing
from backend.training.heads import Identity
from backend.training.sliders import (
    EXPRESSIONS,
    MEASURES,
    PERSON_RANGE,
    SHAPE_RANGE,
    Population,
    _group_move,
    _slopes,
    _volume_move,
    _w_move,
    build_directions,
    measure_gradients,
)
from tests.small_starter import front_points, small_generator

COMPONENTS = 24


@pytest.fixture(scope="module")
def template():
    """Landmarks that move independently of each other: each is a corner of a triangle of its own."""
    random = np.random.default_rng(0)
    vertices = front_points(478 * 3)
    names = tuple(dict.fromkeys(part for parts in EXPRESSIONS.values() for part in parts))
    count = len(vertices)
    return Template(
        vertices=vertices,
        faces=np.arange(count).reshape(-1, 3),
        mirror=np.arange(count),
        neutral=np.zeros((count, 3)),
        shape=0.002 * random.normal(size=(COMPONENTS, count, 3)),
        expression=0.002 * random.normal(size=(len(names), count, 3)),
        expression_names=names,
        landmark_faces=np.arange(478),
        landmark_weights=random.dirichlet([1.0, 1.0, 1.0], 478),
        landmark_noise=np.full(478, 0.001),
    )


@pytest.fixture(scope="module")
def population():
    """Older heads are wider by the first code, heavier ones by the second."""
    random = np.random.default_rng(1)
    identities, heads, shape = [], [], random.normal(size=(80, COMPONENTS))
    for number in range(80):
        age, gender, weight = random.uniform(0.4, 1), random.random(), random.random()
        ancestry = random.dirichlet([1.0, 1.0, 1.0])
        identities.append(Identity(gender, age, ancestry, 0.5, weight, np.zeros(1), np.zeros(1), np.zeros(1)))
        shape[number, :2] = 5 * (age - 0.7), 4 * (weight - 0.5)
        z = describe(sample_appearance(random, gender, age, ancestry=ancestry), sample_dressing(random, gender))
        points, colors = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8)
        heads.append(TrainingHead(z, Dressing(0, 0.0, 0.09, -0.3, 0), points, colors, 1))
    return Population(identities, shape, heads)


@pytest.fixture(scope="module")
def generator(population):
    return small_generator(z_dim=len(population.heads[0].z)).requires_grad_(False)


@pytest.fixture(scope="module")
def directions(template, generator, population):
    return build_directions(template, generator, population)


def by_name(directions):
    return {direction.slider.name: direction for direction in directions}


def landmarks_of(template, shape):
    moved = template.vertices + template.offsets(shape, np.zeros(len(template.expression)))
    return np.einsum("nci,nc->ni", moved[template.faces[template.landmark_faces]], template.landmark_weights)


def measures_of(template, shape):
    places = landmarks_of(template, shape)
    return np.array(
        [places[list(plus), axis].mean() - places[list(minus), axis].mean() for plus, minus, axis in MEASURES.values()]
    )


def test_gradients_are_the_differences_of_measured_heads(template):
    gradients = measure_gradients(template)
    rest = measures_of(template, np.zeros(COMPONENTS))
    for number, code in enumerate(np.eye(COMPONENTS)):
        np.testing.assert_allclose(measures_of(template, code) - rest, gradients[:, number], atol=1e-12)


def test_a_shape_slider_moves_its_measure_by_a_deviation_and_hardly_any_other(template, directions):
    gradients = measure_gradients(template)
    deviation = np.linalg.norm(gradients, axis=1)
    for number, name in enumerate(MEASURES):
        changed = gradients @ by_name(directions)[name].shape / deviation
        assert changed[number] == pytest.approx(1)
        assert np.abs(np.delete(changed, number)).max() < 0.25


def test_there_are_sliders_of_all_kinds_with_ranges(directions):
    groups = {direction.slider.group for direction in directions}
    assert groups == {"Shape", "Expression", "Person"}
    assert len(directions) == len(by_name(directions))
    for direction in directions:
        slider = direction.slider
        expected = {
            "Shape": (-SHAPE_RANGE, SHAPE_RANGE), "Expression": (0.0, 1.0), "Person": (-PERSON_RANGE, PERSON_RANGE)
        }[slider.group]  # fmt: skip
        assert (slider.minimum, slider.maximum) == expected


def test_an_expression_slider_sets_its_expressions_alone(template, directions):
    smile = by_name(directions)["Smile"]
    named = dict(zip(template.expression_names, smile.expression, strict=True))
    assert {name for name, value in named.items() if value} == {"mouthSmileLeft", "mouthSmileRight"}
    assert not smile.shape.any() and not smile.w.any()
    single = by_name(directions)["jawOpen"]
    np.testing.assert_array_equal(single.expression, by_name(directions)["Mouth open"].expression)


def test_regression_finds_known_slopes():
    random = np.random.default_rng(0)
    traits, truth = random.normal(size=(50, 3)) * [1, 2, 5] + 3, random.normal(size=(3, 7))
    values = (traits - traits.mean(0)) / traits.std(0) @ truth + 11
    np.testing.assert_allclose(_slopes(traits, values), truth, atol=1e-10)


def test_age_and_weight_move_the_codes_that_go_with_them(directions, population):
    spread = np.std([5 * (one.age - 0.7) for one in population.identities])
    age, weight = by_name(directions)["Age"], by_name(directions)["Weight"]
    assert age.shape[0] == pytest.approx(spread, rel=1e-6) and abs(age.shape[1]) < 1e-6
    assert weight.shape[1] > 0.5 and abs(weight.shape[0]) < 1e-6
    assert age.w.any() and not weight.w.any()


def test_a_colour_group_moves_towards_lighter_along_its_main_axis():
    random = np.random.default_rng(0)
    z = np.zeros((200, len(NAMES)))
    columns = [number for number, name in enumerate(NAMES) if name.startswith("skin_base")]
    axis = np.array([0.6, 0.64, 0.48])
    z[:, columns] = 1.7 * random.normal(size=(200, 1)) * axis
    found = _group_move(z, "skin_base")
    spread = (z[:, columns] @ axis).std()
    np.testing.assert_allclose(found[columns], spread * axis, rtol=1e-6)
    assert np.count_nonzero(found) == 3


def test_the_volume_slider_moves_the_hairs_volume():
    thin, thick = (Dressing(0, volume, 0.08, -0.1, 0).to_vector() for volume in (0.0, 0.004))
    z = np.stack([thin, thick]).astype(np.float64)
    found = _volume_move(z)
    np.testing.assert_allclose(found, (thick - thin) / 2, atol=1e-6)


def test_of_a_linear_mapping_the_w_move_is_exact(population):
    generator = small_generator(z_dim=len(population.heads[0].z)).requires_grad_(False)
    matrix = torch.randn((12, generator.config.z_dim), generator=torch.Generator().manual_seed(0))
    generator.mapping = torch.nn.Linear(generator.config.z_dim, 12).requires_grad_(False)
    generator.mapping.weight.copy_(matrix)
    z = np.stack([head.z for head in population.heads]).astype(np.float64)
    step = np.random.default_rng(0).normal(size=z.shape[1])
    np.testing.assert_allclose(_w_move(generator, z, step), matrix.double().numpy() @ step, atol=1e-3)


def test_sliders_move_codes(template, generator, directions):
    codes = Codes(np.zeros((6, 12)), np.zeros(COMPONENTS), np.zeros(len(template.expression)))
    moved = move(codes, directions, {"Nose length": 1.5, "Skin tone": -1.0})
    np.testing.assert_allclose(moved.shape, 1.5 * by_name(directions)["Nose length"].shape)
    np.testing.assert_allclose(moved.ws, -np.tile(by_name(directions)["Skin tone"].w, (6, 1)))
