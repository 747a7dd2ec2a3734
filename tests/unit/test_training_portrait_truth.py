# SPDX-License-Identifier: Apache-2.0
"""Labels, landmarks, glasses and motion of synthetic portraits, on MakeHuman's rest mesh."""

from dataclasses import replace

import numpy as np
import pytest

from backend.camera import look_at_camera, project, rays
from backend.template import Template
from backend.training.appearance import sample_appearance
from backend.training.dataset import BALD, Dressing
from backend.training.framing import studio_framing
from backend.training.glasses import Glasses, sample_glasses
from backend.training.heads import HeadShapes
from backend.training.light import studio_light
from backend.training.motion import FACES, SINGLE, FaceMover, Motion, gaze, sample_motion, sides
from backend.training.mouth import TOOTH, Mouth
from backend.training.pieces import EYE, GLASSES, SKIN, TEETH, TOP
from backend.training.portrait_truth import LandmarkAnchors, anchor_landmarks, project_landmarks
from backend.training.portraits import PortraitStudio
from backend.training.render import render_portrait
from backend.training.subject import CLEAR
from tests.mean_body import makehuman, mean_solid, needs_assets, parted_base
from tests.small_dataset import small_canonical
from tests.small_starter import small_template

BARE = Dressing(BALD, 0.0, 0.09, -0.3, 4)
ROUND = Glasses(0.050, 0.044, 2.0, 0.0016, (0.05, 0.05, 0.05), (0.5, 0.5, 0.5), 0.05)
FRONT = replace(studio_framing(0.0), frame_m=0.30).camera()
SIZE = 96
OPEN = "jawOpen"


@pytest.fixture(scope="module")
def someone():
    return sample_appearance(np.random.default_rng(0), 0.3, 0.5, ancestry=np.array([0.2, 0.3, 0.5]))


@pytest.fixture(scope="module")
def mover():
    """One expression that opens the mouth, and the upper and lower teeth without gums."""
    heads = HeadShapes.__new__(HeadShapes)
    heads.makehuman = makehuman()
    heads.expressions = {OPEN: makehuman().target("expression/units/caucasian/mouth-open")}
    teeth = makehuman().teeth
    count = len(teeth.mesh.vertices)
    mouth = Mouth(
        (teeth,), teeth.mesh.faces, np.full(len(teeth.mesh.faces), TOOTH), np.zeros(count), np.zeros(count), {}
    )
    return FaceMover(heads, mouth)


@pytest.fixture(scope="module")
def studio(mover):
    return PortraitStudio(makehuman(), mean_solid(), small_canonical(), small_template(), mover)


@pytest.fixture(scope="module")
def bare(studio, someone):
    return studio.scene(parted_base(), someone, BARE)


@pytest.fixture(scope="module")
def spectacled(studio, someone):
    return studio.scene(parted_base(), someone, BARE, glasses=ROUND)


def eyelids(studio, count=60):
    """Random places on the skin and eyes of the face."""
    canvas = studio.canvas
    centre = canvas.canonical[canvas.faces].mean(1)
    near = np.flatnonzero(np.abs(centre - [0, 0, 0.11]).max(1) < 0.045)
    random = np.random.default_rng(0)
    return random.choice(near, count), random.dirichlet([1.0, 1.0, 1.0], count)


@needs_assets
def test_labels_are_of_the_parts_that_are_seen(bare):
    picture = render_portrait(bare.subject, FRONT, studio_light(), size_px=SIZE, supersample=1)
    part = bare.part[picture.triangle]
    seen = picture.triangle >= 0
    origin, directions = rays(FRONT, SIZE)
    along = picture.depth / (directions @ FRONT.cam2world[:3, 2])
    points = origin + np.where(seen, along, 0)[..., None] * directions
    assert points[seen & (part == TOP)][:, 1].max() < -0.05
    on_eye = points[seen & (part == EYE)]
    assert len(on_eye) > 4 and (np.abs(np.abs(on_eye[:, 0]) - 0.031) < 0.018).all()
    assert (np.abs(on_eye[:, 1] - 0.030) < 0.012).all()
    forehead = seen & (np.abs(points - [0, 0.07, 0.11]).max(-1) < 0.02)
    assert (part[forehead] == SKIN).all()


@needs_assets
def test_a_landmark_in_sight_is_where_the_renderer_sees_its_place(bare, studio):
    places = LandmarkAnchors(*eyelids(studio)).places(bare)
    image, in_sight = project_landmarks(bare, places, FRONT)
    assert in_sight.sum() > 20
    picture = render_portrait(bare.subject, FRONT, studio_light(), size_px=512, supersample=1)
    for number in np.flatnonzero(in_sight):
        column, row = np.floor(image[number] * 512).astype(int)
        triangle = picture.triangle[row, column]
        corners = bare.subject.vertices[bare.subject.faces[triangle]]
        seen = (corners * picture.barycentric[row, column][:, None]).sum(0)
        back, _ = project(FRONT, seen[None])
        assert np.abs(back[0] - image[number]).max() * 512 < 1
        # What is seen in that pixel lies at the landmark, but for the surface's slant within the pixel.
        assert np.linalg.norm(seen - places[number]) < 0.004


@needs_assets
def test_the_templates_landmarks_are_found_on_the_body(bare, studio):
    canvas = studio.canvas
    face, weights = eyelids(studio)
    count = len(canvas.canonical)
    still = np.zeros((1, count, 3))
    on_body = Template(
        canvas.canonical, canvas.faces, np.arange(count), still[0], still, still, ("none",),
        face, weights, np.zeros(len(face)),
    )  # fmt: skip
    expected = LandmarkAnchors(face, weights).places(bare)
    np.testing.assert_allclose(anchor_landmarks(on_body, canvas).places(bare), expected, atol=1e-6)


@needs_assets
def test_landmarks_behind_the_head_are_not_in_sight(bare, studio):
    anchors = LandmarkAnchors(*eyelids(studio))
    behind = look_at_camera(yaw_deg=180, pitch_deg=0, distance=2, focal=6)
    assert not project_landmarks(bare, anchors.places(bare), behind)[1].any()


@needs_assets
def test_glasses_are_there_only_when_asked_for(bare, spectacled):
    assert not (bare.part == GLASSES).any() and (spectacled.part == GLASSES).sum() > 100
    hard = replace(studio_light(), softness=0.0)
    plain, worn = (
        render_portrait(scene.subject, FRONT, hard, size_px=SIZE).rgba.astype(int) for scene in (bare, spectacled)
    )
    changed = np.abs(plain - worn).max(-1) > 25
    row, _ = np.nonzero(changed)
    assert 0.005 < changed.mean() < 0.08
    assert np.percentile(row, 2) > 0.25 * SIZE and np.percentile(row, 98) < 0.62 * SIZE


@needs_assets
def test_eyes_are_seen_through_clear_lenses_and_not_through_dark_ones(studio, someone, spectacled):
    dark_scene = studio.scene(parted_base(), someone, BARE, glasses=replace(ROUND, tint=0.95, tint_color=(0.02,) * 3))
    clear, dark = (
        render_portrait(scene.subject, FRONT, studio_light(), size_px=SIZE) for scene in (spectacled, dark_scene)
    )
    # The truth is what lies behind the lens either way.
    on_eye = (spectacled.part[clear.triangle] == EYE) & (clear.triangle >= 0)
    assert on_eye.sum() > 10
    np.testing.assert_array_equal(clear.triangle, dark.triangle)
    assert clear.rgba[on_eye][:, :3].mean() > 3 * dark.rgba[on_eye][:, :3].mean()


@needs_assets
def test_glasses_sit_before_the_eyes_and_turn_with_the_head(studio, someone, spectacled):
    subject = spectacled.subject
    lens = subject.vertices[np.unique(subject.faces[subject.kind == CLEAR])]
    np.testing.assert_allclose(lens.mean(0)[0], 0, atol=2e-3)
    eye = subject.vertices[np.unique(subject.faces[spectacled.part == EYE])]
    assert 0.008 < lens[:, 2].min() - eye[:, 2].max() + 0.012 < 0.03
    turned = studio.scene(
        parted_base(), someone, BARE, glasses=ROUND, motion=Motion(pose=np.array([0, 0.2, 0, 0, 0.3, 0]))
    ).subject
    moved = turned.vertices[np.unique(turned.faces[turned.kind == CLEAR])]
    # The line from the right to the left lens turns by both angles.
    across = moved[lens[:, 0] > 0].mean(0) - moved[lens[:, 0] < 0].mean(0)
    assert np.degrees(np.arctan2(-across[2], across[0])) == pytest.approx(np.degrees(0.5), abs=4)


@needs_assets
def test_an_open_mouth_shows_teeth(studio, someone):
    opened = studio.scene(parted_base(), someone, BARE, motion=Motion({OPEN: 0.8}))
    picture = render_portrait(opened.subject, FRONT, studio_light(), size_px=SIZE, supersample=1)
    shown = (opened.part[picture.triangle] == TEETH) & (picture.triangle >= 0)
    row, column = np.nonzero(shown)
    assert shown.sum() > 8
    np.testing.assert_allclose(column.mean() / SIZE, 0.5, atol=0.02)
    assert 0.55 * SIZE < row.mean() < 0.7 * SIZE


@needs_assets
def test_a_studio_without_a_mover_shows_heads_at_rest_only(someone):
    still = PortraitStudio(makehuman(), mean_solid(), small_canonical(), small_template())
    with pytest.raises(ValueError, match="at rest"):
        still.scene(parted_base(), someone, BARE, motion=Motion({OPEN: 0.5}))


def test_sampled_glasses_repeat_and_are_wearable():
    for seed in range(50):
        glasses = sample_glasses(np.random.default_rng(seed))
        assert glasses == sample_glasses(np.random.default_rng(seed))
        vector = glasses.to_vector()
        assert vector.shape == (11,) and (vector[4:] >= 0).all() and (vector[4:] <= 1).all()
        assert 0.025 < glasses.height_m <= glasses.width_m < 0.06


def test_sampled_motion_repeats_and_stays_in_range():
    for seed in range(80):
        motion, again = (sample_motion(np.random.default_rng(seed)) for _ in range(2))
        assert motion.expression == again.expression
        np.testing.assert_array_equal(motion.pose, again.pose)
        assert all(0 <= weight <= 1 for weight in motion.expression.values())
        assert np.abs(motion.pose).max() <= 0.45


def test_faces_and_gaze_use_arkits_names():
    from backend.training.expressions import ARKIT_NAMES

    names = {side for face in FACES.values() for name in face for side in sides(name)}
    assert names | set(SINGLE) <= set(ARKIT_NAMES)
    assert set(gaze(0.4, -0.2)) <= set(ARKIT_NAMES)


def test_both_eyes_look_the_same_way():
    to_the_left = gaze(0.5, 0.25)
    assert to_the_left == {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5, "eyeLookUpLeft": 0.25, "eyeLookUpRight": 0.25}
    assert gaze(-0.5, 0.0)["eyeLookOutRight"] == 0.5
