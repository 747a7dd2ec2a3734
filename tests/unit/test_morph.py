# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.directions import Codes, Direction
from backend.head import Slider
from backend.mesh import Mesh, vertex_normals
from backend.morph import MOST_M, STILL_M, morph_targets, slider_for
from backend.skeleton import Skeleton
from backend.template import Deformation
from tests.small_starter import EXPRESSIONS, SHAPES, SIDE, egg_distance, small_starter


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def codes(starter):
    ws = starter.generator.map(starter.candidates[:1])[0].numpy()
    return Codes(ws, np.linspace(-1, 1, SHAPES), np.array([0.3, 0.0, 0.1]))


@pytest.fixture(scope="module")
def surface():
    """Points on and around the egg's skin."""
    random = np.random.default_rng(0)
    vertices = random.normal(size=(300, 3))
    vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True) * (0.075, 0.11, 0.095)
    vertices *= random.uniform(0.98, 1.2, (300, 1))
    vertices = vertices.astype(np.float32)
    faces = np.arange(300).reshape(-1, 3)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), canonical=vertices)


def targets_of(starter, codes, surface):
    binding = starter.template.binding(surface.vertices.astype(np.float64))
    found = morph_targets(starter, codes, surface, normals=surface.normals, binding=binding)
    return {target.slider.name: target.offsets for target in found}


def deformed(starter, codes, points):
    offsets = starter.template.offsets(codes.shape, codes.expression)
    return Deformation(starter.template, offsets, SIDE).to_world(points.astype(np.float64))


def test_shape_and_expression_targets_are_what_deforming_again_gives(starter, codes, surface):
    """For any value of the slider, because the template is linear."""
    offsets = targets_of(starter, codes, surface)
    before = deformed(starter, codes, surface.vertices)
    for direction in starter.directions[:3]:
        for value in (-0.7, 1.0, 2.0):
            moved = replace(
                codes,
                shape=codes.shape + value * direction.shape,
                expression=codes.expression + value * direction.expression,
            )
            truth = deformed(starter, moved, surface.vertices) - before
            found = value * offsets[direction.slider.name]
            np.testing.assert_allclose(found, truth, atol=abs(value) * STILL_M + 1e-7)


def test_there_is_one_target_per_slider(starter, codes, surface):
    assert list(targets_of(starter, codes, surface)) == [one.slider.name for one in starter.directions]


def test_what_hardly_moves_stays_still(starter, codes, surface):
    for offsets in targets_of(starter, codes, surface).values():
        length = np.linalg.norm(offsets, axis=1)
        assert ((length == 0) | (length > 0.99 * STILL_M)).all()


def test_hair_takes_its_vertices_along_their_normals_by_as_much_as_its_surface_moves(codes, surface):
    starter = small_starter(bald=False)
    found = targets_of(starter, codes, surface)["Hair colour"]
    along = (found * surface.normals).sum(1)
    np.testing.assert_allclose(found, along[:, None] * surface.normals, atol=1e-7)
    ws, points = torch.from_numpy(codes.ws).float()[None], torch.from_numpy(surface.vertices)
    move = torch.from_numpy(starter.directions[3].w).float()
    fields = starter.generator.field(ws), starter.generator.field(ws + move)
    truth = (fields[0].signed_distance(points) - fields[1].signed_distance(points)).clamp(-MOST_M, MOST_M)
    np.testing.assert_allclose(along, truth.numpy(), atol=STILL_M + 1e-6)
    assert (np.abs(along) > 0.0005).any()


def test_a_bald_head_has_no_hair_to_move(starter, codes, surface):
    assert not targets_of(starter, codes, surface)["Hair colour"].any()


def test_a_step_too_long_to_be_linear_is_cut(codes, surface):
    starter = small_starter(bald=False)
    with torch.no_grad():
        starter.generator.decoder.last.weight[0] *= 1000
    hair = targets_of(starter, codes, surface)["Hair colour"]
    assert np.linalg.norm(hair, axis=1).max() <= MOST_M * 1.0001


def expression_slider(*moved):
    expression = np.array([float(name in moved) for name in EXPRESSIONS])
    return Direction(Slider("Smile", "Expression", 0.0, 1.0), np.zeros(12), np.zeros(SHAPES), expression)


def with_expression(codes, *values):
    return replace(codes, expression=np.array(values))


def test_an_expression_may_go_as_far_as_is_left(codes):
    smile = expression_slider("mouthSmileLeft")
    slider = slider_for(smile, with_expression(codes, 0.0, 0.3, 0.0))
    assert (slider.name, slider.minimum, slider.maximum) == ("Smile", -0.3, 0.7)
    slider = slider_for(smile, with_expression(codes, 0.9, 0.0, 0.9))
    assert (slider.minimum, slider.maximum) == (0.0, 1.0)


def test_a_slider_of_two_expressions_stops_at_the_first_end(codes):
    both = expression_slider("mouthSmileLeft", "eyeBlinkLeft")
    slider = slider_for(both, with_expression(codes, 0.0, 0.3, 0.6))
    assert (slider.minimum, slider.maximum) == (-0.3, 0.4)


def test_a_slider_at_its_end_still_has_a_range(codes):
    slider = slider_for(expression_slider("jawOpen"), with_expression(codes, 1.0, 0.0, 0.0))
    assert slider.minimum == -1.0 and slider.maximum > 0


def test_other_sliders_keep_their_range(starter, codes):
    for direction in (starter.directions[0], starter.directions[3]):
        assert slider_for(direction, codes) == direction.slider


def test_the_surface_of_this_test_lies_on_skin_and_above(surface):
    assert -0.003 < egg_distance(surface.vertices).min() < 0 < egg_distance(surface.vertices).max()


def turning_starter():
    """The upper half of the egg turns, by a slider."""
    starter = small_starter()
    template = starter.template
    head = np.clip((template.vertices[:, 1] + 0.05) / 0.05, 0, 1)
    template = replace(
        template,
        skeleton=Skeleton(np.array([[0.0, -0.08, 0.0], [0.0, -0.04, 0.0]])),
        joint_shares=np.column_stack([np.zeros_like(head), head]),
    )
    pose = np.array([0, 0, 0, 0, np.radians(10), 0])
    turn = Direction(
        Slider("Head turn", "Pose", -1.0, 1.0), np.zeros(12), np.zeros(SHAPES), np.zeros(len(EXPRESSIONS)), pose
    )
    return replace(starter, template=template, directions=[*starter.directions, turn])


def test_a_turn_of_the_head_is_right_at_its_ends_but_for_the_arc(codes, surface):
    starter = turning_starter()
    template = starter.template
    found = targets_of(starter, codes, surface)["Head turn"]
    binding = template.binding(surface.vertices.astype(np.float64))
    offsets = template.offsets(codes.shape, codes.expression)
    rest = template.place(surface.vertices, binding, offsets, np.zeros(6))
    for sign in (-1, 1):
        truth = template.place(surface.vertices, binding, offsets, sign * starter.directions[-1].pose)
        arm = np.linalg.norm((rest - template.skeleton.joints[1])[:, [0, 2]], axis=1)
        assert np.linalg.norm(truth - rest, axis=1).max() > 0.01
        gap = np.linalg.norm(rest + sign * found - truth, axis=1)
        assert (gap <= (1 - np.cos(np.radians(10))) * arm + STILL_M).all()


def test_shapes_of_a_turned_head_turn_with_it(codes, surface):
    starter = turning_starter()
    turned = replace(codes, pose=np.array([0, 0, 0, 0, np.pi / 2, 0]))
    before, after = (targets_of(starter, one, surface)["Jaw width"] for one in (codes, turned))
    shares = starter.template.point_shares(starter.template.binding(surface.vertices.astype(np.float64)))
    head = (shares[:, 1] > 1 - 1e-9) & before.any(1)
    assert head.sum() > 20
    truth = np.stack([before[:, 2], before[:, 1], -before[:, 0]], axis=1)
    np.testing.assert_allclose(after[head], truth[head], atol=2 * STILL_M)


def test_a_slider_of_colours_moves_no_vertex(codes, surface):
    starter = small_starter(bald=False)
    colours = [replace(one, recolors=bool(one.w.any())) for one in starter.directions]
    assert not targets_of(replace(starter, directions=colours), codes, surface)["Hair colour"].any()
