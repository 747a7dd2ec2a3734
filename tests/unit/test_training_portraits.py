# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.camera import project
from backend.training import calibrate as calibrating
from backend.training.appearance import sample_appearance
from backend.training.calibrate import LEAST_SIGHTINGS, calibrate_landmarks, canonical_places
from backend.training.canonical import TOPS
from backend.training.dataset import BALD, Dressing
from backend.training.eyes import eye_color
from backend.training.heads import HeadShapes
from backend.training.light import linear_from_srgb, sample_light, srgb_from_linear
from backend.training.makehuman import fit_proxy
from backend.training.pieces import EYE, HAIR, SKIN, TOP
from backend.training.portraits import FRAME_M, PortraitStudio, portrait_camera
from backend.training.render import render_portrait
from backend.training.subject import Rays
from backend.training.tops import top_color
from tests.mean_body import makehuman, mean_solid, needs_assets, parted_base
from tests.small_dataset import small_canonical
from tests.small_starter import LANDMARKS, small_template

DRESSED, BARE = Dressing(1, 0.0, 0.09, -0.3, 4), Dressing(BALD, 0.0, 0.09, -0.3, 4)
CAMERA = portrait_camera(yaw_deg=15, pitch_deg=5)


@pytest.fixture(scope="module")
def template():
    return small_template()


@pytest.fixture(scope="module")
def studio(template):
    return PortraitStudio(makehuman(), mean_solid(), small_canonical(), template)


@pytest.fixture(scope="module")
def someone():
    return sample_appearance(np.random.default_rng(0), 0.3, 0.5, ancestry=np.array([0.2, 0.3, 0.5]))


@pytest.fixture(scope="module")
def scene(studio, someone):
    return studio.scene(parted_base(), someone, DRESSED)


def test_a_portrait_frames_the_head_and_some_air():
    for yaw_deg in (-30, 0, 30):
        camera = portrait_camera(yaw_deg=yaw_deg, pitch_deg=0)
        image, _ = project(camera, np.array([[0.0, FRAME_M / 2, 0.0], [0.0, -FRAME_M / 2, 0.0], [0.0, 0.0, 0.0]]))
        np.testing.assert_allclose(image, [[0.5, 0.0], [0.5, 1.0], [0.5, 0.5]], atol=1e-9)


@needs_assets
def test_the_mean_head_stands_in_canonical_space(scene):
    np.testing.assert_allclose(scene.subject.vertices, scene.canonical, atol=1e-9)
    assert scene.subject.faces.min() >= 0 and scene.subject.faces.max() < len(scene.subject.vertices)
    assert len(scene.part) == len(scene.subject.faces)
    assert set(np.unique(scene.part)) == {SKIN, EYE, HAIR, TOP}


@needs_assets
def test_hair_and_top_go_where_the_head_goes(studio, scene, someone):
    moved = studio.scene(parted_base() + np.array([0.2, -0.1, 0.3]), someone, DRESSED)
    shift = moved.subject.vertices - scene.subject.vertices
    np.testing.assert_allclose(shift, np.tile([0.02, -0.01, 0.03], (len(shift), 1)), atol=1e-6)
    np.testing.assert_array_equal(moved.canonical, scene.canonical)


@needs_assets
def test_a_bald_head_has_no_hair(studio, scene, someone):
    bare = studio.scene(parted_base(), someone, BARE)
    assert set(np.unique(bare.part)) == {SKIN, EYE, TOP}
    assert (bare.part != TOP).sum() == np.isin(scene.part, (SKIN, EYE)).sum()
    assert bare.canonical[bare.subject.faces[bare.part == TOP]][..., 1].max() < -0.05


def looked_at(subject, triangle):
    """Hits in the middle of triangles, seen from in front."""
    origin = np.array([0.0, 0.0, 2.0])
    towards = subject.vertices[subject.faces[triangle]].mean(1) - origin
    distance = np.linalg.norm(towards, axis=1)
    middle = np.full((len(triangle), 3), 1 / 3)
    return subject.hits(triangle, middle, Rays(origin, towards / distance[:, None], distance, 1e-3))


@needs_assets
def test_each_part_has_its_own_paint(scene, someone):
    subject = scene.subject
    cloth = np.flatnonzero(scene.part == TOP)[5:6]
    place = scene.canonical[subject.faces[cloth]].mean(1)
    albedo = subject.surface_of_hit(looked_at(subject, cloth)).albedo
    np.testing.assert_allclose(albedo, linear_from_srgb(top_color(someone, place, TOPS[DRESSED.top])), atol=0.02)
    eyes = np.flatnonzero(scene.part == EYE)
    found = subject.surface_of_hit(looked_at(subject, eyes))
    assert (found.shine > 0.8).all()
    rest = fit_proxy(makehuman().eyes, makehuman().base.vertices)[makehuman().eyes.mesh.faces].mean(1)
    expected = linear_from_srgb(eye_color(someone, rest))
    assert np.abs(found.albedo - expected).mean() < 0.03
    places = scene.canonical[subject.faces].mean(1)
    forehead = np.flatnonzero((scene.part == SKIN) & (np.abs(places - [0, 0.05, 0.1]).max(1) < 0.02))
    color = np.median(srgb_from_linear(subject.surface_of_hit(looked_at(subject, forehead)).albedo), axis=0)
    assert np.abs(color - someone.skin_base).max() < 0.15


@needs_assets
def test_only_hair_is_loose_and_has_strands(scene):
    subject = scene.subject
    for part, is_hair in ((SKIN, False), (TOP, False), (HAIR, True)):
        found = subject.surface_of_hit(looked_at(subject, np.flatnonzero(scene.part == part)[:200]))
        assert (found.opacity is not None) == is_hair and (found.strand is not None) == is_hair
        if is_hair:
            np.testing.assert_allclose(np.linalg.norm(found.strand[1], axis=1), 1, atol=1e-5)


@needs_assets
def test_places_in_the_picture_are_carried_to_canonical_space_and_back(scene):
    random = np.random.default_rng(0)
    image = np.concatenate([random.uniform(0.42, 0.58, (60, 2)), [[0.01, 0.01], [0.99, 0.01]]])
    places = canonical_places(scene, CAMERA, image)
    hit = np.isfinite(places[:, 0])
    assert hit[:60].all() and not hit[60:].any()
    np.testing.assert_allclose(project(CAMERA, places[hit])[0], image[hit], atol=1e-5)


@needs_assets
def test_a_portrait_shows_the_scene(scene):
    picture = render_portrait(scene.subject, CAMERA, sample_light(np.random.default_rng(0)), size_px=64, supersample=1)
    covered = picture.rgba[..., 3] > 128
    assert 0.2 < covered.mean() < 0.8 and covered[32, 32] and not covered[1, 1]
    assert picture.rgba[covered][:, :3].std() > 5


def heads_without_assets():
    return HeadShapes.__new__(HeadShapes)


def studio_of(template):
    studio = PortraitStudio.__new__(PortraitStudio)
    studio.template = template
    return studio


def test_landmarks_are_found_from_scattered_sightings(template, monkeypatch):
    corners = template.vertices[template.faces[template.landmark_faces]]
    truth = np.einsum("nci,nc->ni", corners, template.landmark_weights)
    random = np.random.default_rng(0)
    sigma = np.where(np.arange(LANDMARKS) % 2, 0.0005, 0.002)
    hidden, rare = 5, 6

    def one_portrait(heads, studio, rng):
        if rng.random() < 0.1:
            return None
        places = truth + sigma[:, None] * random.normal(size=truth.shape)
        places[hidden] = np.nan
        places[rare] = np.nan if rng.random() < 0.95 else places[rare]
        return places

    monkeypatch.setattr(calibrating, "_one_portrait", one_portrait)
    bare = studio_of(template)
    told = []
    found = calibrate_landmarks(
        heads_without_assets(), bare, portraits=60, rng=np.random.default_rng(3), log=told.append
    )
    placed = np.einsum("nci,nc->ni", found.vertices[found.faces[found.landmark_faces]], found.landmark_weights)
    seen = np.delete(np.arange(LANDMARKS), [hidden, rare])
    gap = np.linalg.norm(placed - truth, axis=1)[seen]
    assert gap.max() < 0.002 and np.median(gap) < 0.0004
    for kind in (0.0005, 0.002):
        assert np.median(found.landmark_noise[seen][sigma[seen] == kind]) == pytest.approx(1.3 * kind, rel=0.15)
    assert found.landmark_noise[hidden] == 1.0 and found.landmark_noise[rare] == 1.0
    assert np.isfinite(found.landmark_weights).all()
    assert len(told) == 2 and LEAST_SIGHTINGS == 8
