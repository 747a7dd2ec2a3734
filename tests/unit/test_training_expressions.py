# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.raycast import Caster
from backend.training.expressions import ARKIT_NAMES, GAZE, _turned, arkit_expressions, with_whole_lids
from backend.training.ict import correspondence, ict_expressions
from backend.training.makehuman import BODY_VERTICES, EYE_JOINTS, EYEBALLS, fit_proxy, joint
from tests.mean_body import ICT, makehuman, needs_assets

pytestmark = needs_assets
LEFT_OPENING = np.array([0.30775, 7.286])  # Middle of the left eye's opening on the rest mesh, decimetres.


@pytest.fixture(scope="module")
def shapes():
    return arkit_expressions(makehuman(), ICT)


def base():
    return makehuman().base.vertices


def seen_from_front(vertices_dm, x, y):
    """Whether rays along -z at places (x, y) meet the skin or an eyeball first; True is skin."""
    eyes = makehuman().eyes
    both = np.concatenate([vertices_dm, fit_proxy(eyes, vertices_dm)])
    skin_faces = makehuman().body.faces
    faces = np.concatenate([skin_faces, eyes.mesh.faces + len(vertices_dm)])
    origins = np.stack([x, y, np.full_like(x, 9.0)], axis=1)
    triangle, _, _ = Caster(both, faces).first_hit(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape))
    return triangle < len(skin_faces)


def opening(vertices_dm):
    """Places on a grid over the left eye where the eyeball is seen."""
    x, y = np.meshgrid(LEFT_OPENING[0] + np.linspace(-0.16, 0.16, 60), LEFT_OPENING[1] + np.linspace(-0.1, 0.1, 60))
    return ~seen_from_front(vertices_dm, x.ravel(), y.ravel())


def test_all_of_arkits_names_are_there_but_the_tongue(shapes):
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52
    assert set(shapes) == set(ARKIT_NAMES) - {"tongueOut"}


def test_a_blink_covers_the_eye_and_leaves_the_other_open(shapes):
    assert opening(base()).sum() > 300
    assert opening(base() + shapes["eyeBlinkLeft"]).sum() == 0
    assert opening(base() + shapes["eyeBlinkRight"]).sum() == opening(base()).sum()


def test_lids_slide_before_the_eyeball_half_way_too(shapes):
    """The opening shrinks steadily: no lid sinks into the eyeball on its way."""
    seen = [opening(base() + weight * shapes["eyeBlinkLeft"]) for weight in (0, 0.25, 0.5, 0.75, 1)]
    count = [part.sum() for part in seen]
    assert count == sorted(count, reverse=True)
    assert (seen[2] & ~seen[0]).sum() < 0.05 * count[0]


def test_a_lids_inner_side_goes_with_its_rim(shapes):
    """Or the eyeball, which cuts it, would see a frayed rim: MakeHuman leaves the third loop 7 mm behind the first."""
    first, second, third = [6784, 6838], [13352, 13353, 13359], [7747, 7748, 7765]  # Of the left upper lid's margin.
    unit = makehuman().target("expression/units/caucasian/eye-left-closure")
    assert unit[second, 1].max() < -0.085 and unit[third, 1].min() > -0.03
    whole = with_whole_lids(makehuman(), shapes)
    assert whole["eyeBlinkLeft"][first + second + third, 1].max() < -0.08
    for name, shape in whole.items():
        changed = np.abs(shape - shapes[name]).max(1) > 0
        assert name.startswith("eye") or not changed.any()
        assert not changed[BODY_VERTICES:].any()  # Eyeballs among them.


def test_wide_eyes_are_wider_and_squinting_ones_narrower(shapes):
    rest = opening(base()).sum()
    assert opening(base() + shapes["eyeWideLeft"]).sum() > 1.15 * rest
    assert opening(base() + shapes["eyeSquintLeft"]).sum() < 0.6 * rest


def test_gaze_turns_eyeballs_rigidly_about_their_centre(shapes):
    centre = joint(base(), EYE_JOINTS[0])
    ball = base()[EYEBALLS[0]]
    for name, (_, degrees) in GAZE.items():
        turned = ball + shapes[f"{name}Left"][EYEBALLS[0]]
        np.testing.assert_allclose(
            np.linalg.norm(turned - centre, axis=1), np.linalg.norm(ball - centre, axis=1), atol=1e-6
        )
        front = np.argmax(ball[:, 2])
        cosine = (turned[front] - centre) @ (ball[front] - centre) / np.linalg.norm(ball[front] - centre) ** 2
        assert np.degrees(np.arccos(cosine)) == pytest.approx(abs(degrees), abs=0.5)
        assert not shapes[f"{name}Left"][EYEBALLS[1]].any()


def test_gaze_goes_where_its_name_says(shapes):
    front = np.argmax(base()[EYEBALLS[0], 2]) + EYEBALLS[0].start
    assert shapes["eyeLookUpLeft"][front, 1] > 0.05 and shapes["eyeLookDownLeft"][front, 1] < -0.05
    assert shapes["eyeLookOutLeft"][front, 0] > 0.05 and shapes["eyeLookInLeft"][front, 0] < -0.05


def test_a_quarter_turn_about_y_takes_z_to_x():
    np.testing.assert_allclose(_turned(np.eye(3)[2:], np.zeros(3), 1, 90.0), [[1, 0, -1]], atol=1e-12)
    np.testing.assert_allclose(_turned(np.eye(3)[1:2], np.zeros(3), 0, 90.0), [[0, -1, 1]], atol=1e-12)


def test_eyes_stay_when_only_the_skin_moves(shapes):
    for name, offsets in shapes.items():
        if not name.startswith("eyeLook"):
            for part in EYEBALLS:
                assert not offsets[part].any(), name


def seen_into_mouth(vertices_dm):
    """How many places on a grid over the mouth show what is behind the lips."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(-0.2, 0.2, 60), np.linspace(6.2, 6.75, 120)))
    origins = np.stack([x, y, np.full_like(x, 9.0)], axis=1)
    caster = Caster(vertices_dm, makehuman().body.faces)
    _, _, distance = caster.first_hit(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape))
    return (9.0 - distance < 1.15).sum()


def test_the_mouth_opens_and_closes_again_over_the_open_jaw(shapes):
    rest = seen_into_mouth(base())  # MakeHuman's lips are a hair apart.
    assert rest < 150
    assert seen_into_mouth(base() + shapes["jawOpen"]) > 1000
    assert seen_into_mouth(base() + shapes["jawOpen"] + shapes["mouthClose"]) < rest


def test_lips_lie_on_icts_lips():
    found = correspondence(makehuman(), ICT)
    lips = np.array([5533, 5517])  # ICT's landmarks in the middle of the upper and the lower lip's inner edge.
    middle = found.ict.neutral[lips].mean(0)
    skin = base()[found.skin]
    near = (np.abs(skin[:, 0]) < 0.02) & (np.abs(skin[:, 1] - 6.615) < 0.02) & (skin[:, 2] > 1.5)
    assert near.sum() > 5
    assert np.median(np.abs(found.points[near][:, 1] - middle[1])) < 0.12  # Centimetres.


def test_carrying_a_shift_shifts_the_face():
    found = correspondence(makehuman(), ICT)
    shift = np.tile(np.float32([0.5, -1.0, 2.0]), (1, len(found.ict.neutral), 1))
    carried = found.carry(shift)[0]
    face = found.skin[base()[found.skin, 1] > 6.6]
    truth = np.array([0.5, -1.0, 2.0]) @ found.to_base
    close = np.linalg.norm(carried[face] - truth, axis=1) < 0.02 * np.linalg.norm(truth)
    assert close.mean() > 0.95


def test_ict_expressions_keep_icts_names():
    names = set(ict_expressions(makehuman(), ICT))
    assert {"jawOpen", "eyeBlink_L", "mouthSmile_R"} <= names and len(names) == 57
