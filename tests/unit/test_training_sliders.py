# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.directions import Codes, move
from backend.training.measures import MEASURES, measure_gradients
from backend.training.person import PERSON_RANGE
from backend.training.sliders import (
    EXPRESSIONS,
    FARTHEST,
    SHAPE_RANGE,
    TURN_DEG,
    TURNS,
    build_directions,
    pose_directions,
)
from tests.small_people import COMPONENTS, face_template, people
from tests.small_starter import small_generator

# Names that people have saved in their files.
FIRST_NAMES = {
    "Face width", "Jaw width", "Chin height", "Chin forward", "Cheek fullness", "Nose length", "Nose width",
    "Nose forward", "Nose bridge", "Eye width", "Eye height", "Brow height", "Mouth width", "Lip fullness",
    "Forehead height", "Mouth open", "Smile", "Frown", "Pucker", "Blink", "Squint", "Brows up", "Brows down",
    "Age", "Gender", "Weight", "Skin tone", "Hair colour", "Beard", "Hair volume",
}  # fmt: skip


@pytest.fixture(scope="module")
def template():
    return face_template()


@pytest.fixture(scope="module")
def directions(template):
    population = people()
    generator = small_generator(z_dim=len(population.heads[0].z)).requires_grad_(False)
    return build_directions(template, generator, population)


def by_name(directions):
    return {direction.slider.name: direction for direction in directions}


def test_a_shape_slider_moves_its_measure_by_a_deviation_and_hardly_any_other(template, directions):
    gradients = measure_gradients(template)
    deviation = np.linalg.norm(gradients, axis=1)
    for number, name in enumerate(MEASURES):
        changed = gradients @ by_name(directions)[name].shape / deviation
        assert changed[number] == pytest.approx(1)
        assert np.abs(np.delete(changed, number)).max() < 0.25


def test_no_shape_slider_leads_far_from_all_heads(directions):
    for direction in directions:
        if direction.slider.group == "Shape":
            assert direction.slider.maximum == -direction.slider.minimum <= SHAPE_RANGE
            assert direction.slider.maximum * np.linalg.norm(direction.shape) <= FARTHEST + 1e-9


def test_there_are_at_least_24_named_sliders_in_groups_with_ranges(template, directions):
    groups = {}
    for direction in directions:
        groups.setdefault(direction.slider.group, []).append(direction.slider)
    assert {group: len(members) for group, members in groups.items()} == {
        "Shape": len(MEASURES), "Person": 7, "Pose": 3,
        "Expression": len(EXPRESSIONS), "ARKit": len(template.expression_names),
    }  # fmt: skip
    assert len(groups["Shape"]) + 7 + len(EXPRESSIONS) >= 24
    assert len(directions) == len(by_name(directions))
    assert all((slider.minimum, slider.maximum) == (0.0, 1.0) for slider in groups["Expression"] + groups["ARKit"])
    assert all((slider.minimum, slider.maximum) == (-PERSON_RANGE, PERSON_RANGE) for slider in groups["Person"])


def test_sliders_of_the_first_version_keep_their_names(directions):
    assert set(by_name(directions)) >= FIRST_NAMES


def test_an_expression_slider_sets_its_expressions_alone(template, directions):
    smile = by_name(directions)["Smile"]
    named = dict(zip(template.expression_names, smile.expression, strict=True))
    assert {name for name, value in named.items() if value} == {"mouthSmileLeft", "mouthSmileRight"}
    assert not smile.shape.any() and not smile.w.any() and not smile.pose.any()
    single = by_name(directions)["jawOpen"]
    np.testing.assert_array_equal(single.expression, by_name(directions)["Mouth open"].expression)


def test_eyes_look_to_the_same_side():
    assert EXPRESSIONS["Look left"] == ("eyeLookOutLeft", "eyeLookInRight")
    assert EXPRESSIONS["Look right"] == ("eyeLookInLeft", "eyeLookOutRight")


def test_turns_of_the_head_are_shared_by_neck_and_head(template, directions):
    for name, axis in TURNS.items():
        pose = by_name(directions)[name].pose
        assert np.degrees(np.linalg.norm(pose[:3] + pose[3:])) == pytest.approx(TURN_DEG)
        assert np.flatnonzero(pose).tolist() == [axis, axis + 3]
    assert pose_directions(replace(template, joint_shares=np.zeros((0, 2))), 12) == []


def test_a_head_turns_to_its_left_and_nods_forward(template, directions):
    nose = np.array([[0.0, 0.0, 0.1]])
    share = np.array([[0.0, 1.0]])
    turned, nodded, tilted = (
        template.skeleton.place(nose, share, by_name(directions)[name].pose) - nose
        for name in ("Head turn", "Head nod", "Head tilt")
    )
    assert turned[0, 0] > 0.01 and nodded[0, 1] < -0.01 and abs(tilted[0, 2]) < 1e-9


def test_sliders_move_codes(template, directions):
    codes = Codes(np.zeros((6, len(directions[0].w))), np.zeros(COMPONENTS), np.zeros(len(template.expression)))
    moved = move(codes, directions, {"Nose length": 1.5, "Skin tone": -1.0, "Head turn": 0.5})
    np.testing.assert_allclose(moved.shape, 1.5 * by_name(directions)["Nose length"].shape)
    np.testing.assert_allclose(moved.ws, -np.tile(by_name(directions)["Skin tone"].w, (6, 1)))
    np.testing.assert_allclose(moved.pose, 0.5 * by_name(directions)["Head turn"].pose)
