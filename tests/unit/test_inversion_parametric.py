# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import numpy as np
import pytest

from backend.camera import look_at_camera, project
from backend.inversion import parametric
from backend.inversion.parametric import (
    IRIS_LANDMARKS,
    CodePrior,
    Lens,
    SeenFace,
    combined_shape,
    fit_person,
    fit_template,
)
from backend.landmark_errors import POSE_TERMS, LandmarkErrors, in_image
from tests.cameras import rolled
from tests.small_starter import EXPRESSIONS, SHAPES, small_template

FOCAL = 3.0


@pytest.fixture(scope="module")
def template():
    return small_template()


def landmarks_of(template, shape, expression):
    """World positions of the landmarks on a head."""
    moved = template.vertices + template.offsets(shape, expression)
    corners = moved[template.faces[template.landmark_faces]]
    return np.einsum("nci,nc->ni", corners, template.landmark_weights)


def portrait_camera(yaw_deg, pitch_deg, roll_deg, *, at=(0.5, 0.5)):
    return rolled(look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=1.0, focal=FOCAL), roll_deg, at=at)


def random_heads(count, seed=0):
    random = np.random.default_rng(seed)
    for _ in range(count):
        camera = portrait_camera(*random.uniform([-35, -20, -20], [35, 20, 20]))
        expression = random.uniform(0, 0.7, len(EXPRESSIONS)) * (random.random(len(EXPRESSIONS)) < 0.5)
        yield random.normal(0, 1, SHAPES), expression, camera


def angle_between_deg(one, other):
    cosine = (np.trace(one.cam2world[:3, :3].T @ other.cam2world[:3, :3]) - 1) / 2
    return math.degrees(math.acos(min(1.0, cosine)))


def test_codes_and_camera_are_recovered_from_their_own_projections(template):
    for shape, expression, camera in random_heads(6):
        image, _ = project(camera, landmarks_of(template, shape, expression))
        fit = fit_template(template, image, Lens(FOCAL))
        np.testing.assert_allclose(fit.shape, shape, atol=0.1)
        np.testing.assert_allclose(fit.expression, expression, atol=0.1)
        assert angle_between_deg(fit.camera, camera) < 0.5
        assert np.linalg.norm(fit.camera.position - camera.position) < 0.01
        assert fit.residual_m < 0.0003


def test_an_off_centre_lens_is_respected(template):
    camera = portrait_camera(15, 5, -8, at=(0.62, 0.41))
    image, _ = project(camera, landmarks_of(template, np.zeros(SHAPES), np.zeros(len(EXPRESSIONS))))
    fit = fit_template(template, image, Lens(FOCAL, (0.62, 0.41)))
    assert angle_between_deg(fit.camera, camera) < 0.3
    np.testing.assert_allclose(fit.camera.intrinsics, camera.intrinsics)


def test_noise_never_flips_a_head_nor_runs_away(template):
    random = np.random.default_rng(1)
    for shape, expression, camera in random_heads(10, seed=2):
        image, _ = project(camera, landmarks_of(template, shape, expression))
        image += random.normal(0, 0.004, image.shape)  # 1.3 mm.
        fit = fit_template(template, image, Lens(FOCAL))
        assert angle_between_deg(fit.camera, camera) < 8
        assert np.linalg.norm(fit.camera.position - camera.position) < 0.1
        assert np.abs(fit.shape - shape).max() < 1
        assert 0.0005 < fit.residual_m < 0.003


def test_codes_stay_where_they_make_sense(template):
    """A head of 8 standard deviations and expressions of -2 or 3 is none."""
    shape, expression = np.array([8.0, -8.0, 0.0, 0.0]), np.array([3.0, -2.0, 0.0])
    camera = portrait_camera(0, 0, 0)
    image, _ = project(camera, landmarks_of(template, shape, expression))
    fit = fit_template(template, image, Lens(FOCAL))
    assert np.abs(fit.shape).max() <= 4
    assert fit.expression.min() >= 0 and fit.expression.max() <= 1


def test_a_mean_face_is_found_at_the_mean(template):
    """The limit of the prior: where the landmarks ask for nothing, nothing moves."""
    camera = portrait_camera(10, -5, 3)
    image, _ = project(camera, landmarks_of(template, np.zeros(SHAPES), np.zeros(len(EXPRESSIONS))))
    fit = fit_template(template, image, Lens(FOCAL))
    np.testing.assert_allclose([*fit.shape, *fit.expression], 0, atol=1e-3)
    assert fit.residual_m < 1e-5


def test_the_iris_is_not_looked_at(template):
    shape, expression, camera = next(random_heads(1, seed=5))
    image, _ = project(camera, landmarks_of(template, shape, expression))
    before = fit_template(template, image, Lens(FOCAL))
    image[IRIS_LANDMARKS:] += 0.1
    after = fit_template(template, image, Lens(FOCAL))
    np.testing.assert_array_equal(after.shape, before.shape)
    np.testing.assert_array_equal(after.camera.cam2world, before.camera.cam2world)


def test_uncertain_landmarks_count_for_less(template):
    """A hundred landmarks that sit wrongly by 5 mm do no harm when the template says that they scatter."""
    shape, expression, camera = next(random_heads(1, seed=6))
    image, _ = project(camera, landmarks_of(template, shape, expression))
    image[:100, 0] += 0.015
    noise = template.landmark_noise.copy()
    noise[:100] = 1.0
    careless = fit_template(template, image, Lens(FOCAL))
    careful = fit_template(replace(template, landmark_noise=noise), image, Lens(FOCAL))
    assert np.linalg.norm(careful.shape - shape) < 0.5 * np.linalg.norm(careless.shape - shape)


def test_gaze_and_a_mouth_closed_over_an_open_jaw_are_not_guessed(template):
    held = replace(template, expression_names=("jawOpen", "mouthClose", "eyeLookUpLeft"))
    camera = portrait_camera(10, 5, 0)
    image, _ = project(camera, landmarks_of(template, np.zeros(SHAPES), np.array([0.5, 0.5, 0.5])))
    fit = fit_template(held, image, Lens(FOCAL))
    assert fit.expression[0] > 0.1
    np.testing.assert_allclose(fit.expression[1:], 0, atol=0.01)


def test_a_sure_prior_wins_and_a_vague_one_does_not_matter(template):
    shape, expression, camera = next(random_heads(1, seed=3))
    image, _ = project(camera, landmarks_of(template, shape, expression))
    count, others = len(shape), len(expression)
    sure = CodePrior(np.full(count, 0.7), np.full(others, 0.2), np.full(count, 1e-5), np.full(others, 1e-5))
    fit = fit_template(template, image, Lens(FOCAL), sure)
    np.testing.assert_allclose(fit.shape, 0.7, atol=1e-3)
    np.testing.assert_allclose(fit.expression, 0.2, atol=1e-3)
    vague = CodePrior(np.full(count, 0.7), np.full(others, 0.2), np.full(count, 1e3), np.full(others, 1e3))
    np.testing.assert_allclose(fit_template(template, image, Lens(FOCAL), vague).shape, shape, atol=0.1)


def test_the_right_prior_brings_the_fit_nearer_to_the_truth_under_noise(template):
    random = np.random.default_rng(0)
    errors = []
    for shape, expression, camera in random_heads(5, seed=4):
        image, _ = project(camera, landmarks_of(template, shape, expression))
        noisy = image + random.normal(0, 0.004, image.shape)
        prior = CodePrior(shape, expression, np.full(len(shape), 0.01), np.full(len(expression), 0.005))
        fits = [fit_template(template, noisy, Lens(FOCAL), each) for each in (None, prior)]
        errors.append([np.abs(fit.shape - shape).mean() for fit in fits])
    without, with_prior = np.mean(errors, axis=0)
    assert with_prior < 0.7 * without


def test_expected_and_shared_errors_of_the_detector_are_not_taken_for_shape(template, monkeypatch):
    """Errors as large as the shapes' own, but the template knows them; what is seen moves the head a little."""
    shape, expression, camera = next(random_heads(1, seed=7))
    random = np.random.default_rng(8)
    points = landmarks_of(template, shape, expression)[:IRIS_LANDMARKS]
    waves = np.sin(points @ random.normal(0, 40, (3, 4)) + random.uniform(0, 6, 4)).T[..., None]
    factors = 0.003 * waves * random.normal(0, 1, (4, 1, 2))
    bias = np.zeros((POSE_TERMS, IRIS_LANDMARKS, 2))
    bias[0] = 0.002 * waves[0][::-1]
    errors = LandmarkErrors(bias, factors, np.full(IRIS_LANDMARKS, 0.0005))
    wrong = errors.mean(camera) + np.tensordot([1.0, -1.5, 0.5, 1.0], factors, 1)
    image, _ = project(camera, points)
    image = np.concatenate([image + in_image(camera, points, wrong), np.zeros((10, 2))])
    moved = fit_template(replace(template, landmark_errors=errors), image, Lens(FOCAL))
    monkeypatch.setattr(parametric, "TOWARDS_LANDMARKS", 1e-3)
    fits = [fit_template(replace(template, landmark_errors=known), image, Lens(FOCAL)) for known in (None, errors)]
    assert moved.residual_m < 0.95 * fits[1].residual_m
    ignorant, knowing = (np.linalg.norm(fit.shape - shape) for fit in fits)
    assert knowing < 0.3 * ignorant and knowing < 0.5
    shared = np.linalg.norm(np.tensordot([1.0, -1.5, 0.5, 1.0], factors, 1), axis=1)
    assert 0.5 * np.median(shared) < fits[1].residual_m < 1.1 * np.median(shared)


def test_the_more_a_likely_head_may_move_the_nearer_it_comes_to_its_landmarks(template, monkeypatch):
    random = np.random.default_rng(10)
    for shape, expression, camera in random_heads(2, seed=11):
        points = landmarks_of(template, shape, expression)[:IRIS_LANDMARKS]
        waves = np.sin(points @ random.normal(0, 40, (3, 3)) + random.uniform(0, 6, 3)).T[..., None]
        factors = 0.0005 * waves * random.normal(0, 1, (3, 1, 2))
        known = LandmarkErrors(np.zeros((POSE_TERMS, IRIS_LANDMARKS, 2)), factors, np.full(IRIS_LANDMARKS, 0.0005))
        wrong = in_image(camera, points, np.tensordot([1.5, -1.5, 1.0], factors, 1))
        image = np.concatenate([project(camera, points)[0] + wrong, np.zeros((10, 2))])
        fits = []
        for towards in (1e-4, 0.03, parametric.TOWARDS_LANDMARKS):
            monkeypatch.setattr(parametric, "TOWARDS_LANDMARKS", towards)
            fits.append(fit_template(replace(template, landmark_errors=known), image, Lens(FOCAL)))
        likely, nearer, nearest = fits
        assert likely.residual_m > nearer.residual_m > nearest.residual_m
        moves = [np.abs(fit.shape - likely.shape).max() for fit in (nearer, nearest)]
        assert 0 < moves[0] < moves[1]


def test_an_expected_error_of_the_detector_turns_no_head(template):
    shape, expression, camera = next(random_heads(1, seed=9))
    bias = np.zeros((POSE_TERMS, IRIS_LANDMARKS, 2))
    bias[0, :, 1] = 0.08 * landmarks_of(template, shape, expression)[:IRIS_LANDMARKS, 2]  # As if seen from above.
    errors = LandmarkErrors(bias, np.zeros((0, IRIS_LANDMARKS, 2)), np.full(IRIS_LANDMARKS, 0.0009))
    points = landmarks_of(template, shape, expression)[:IRIS_LANDMARKS]
    image = project(camera, points)[0] + in_image(camera, points, errors.mean(camera))
    image = np.concatenate([image, np.zeros((10, 2))])
    fits = [fit_template(replace(template, landmark_errors=known), image, Lens(FOCAL)) for known in (None, errors)]
    assert angle_between_deg(fits[0].camera, camera) > 2 > 0.5 > angle_between_deg(fits[1].camera, camera)
    np.testing.assert_allclose(fits[1].shape, shape, atol=0.1)


def seen_faces(template, shape, yaws_deg, random, *, noise=0.004):
    """Photos of one person from several sides, each with an expression, a focal length and noise of its own."""
    faces, expressions = [], []
    for yaw in yaws_deg:
        expression = random.uniform(0, 0.7, len(EXPRESSIONS))
        camera = portrait_camera(yaw, 5, random.uniform(-10, 10))
        image, _ = project(camera, landmarks_of(template, shape, expression))
        faces.append(SeenFace(image + random.normal(0, noise, image.shape), Lens(FOCAL)))
        expressions.append(expression)
    return faces, expressions


def test_a_view_from_the_side_tells_what_points_at_the_camera_in_front(template):
    """Shapes that move towards +z alone: from in front hardly anything of them is seen."""
    towards = np.zeros_like(template.shape)
    towards[..., 2] = template.shape.sum(-1)
    template = replace(template, shape=towards)
    random, errors = np.random.default_rng(3), []
    for shape in random.normal(0, 1, (3, SHAPES)):
        faces, expressions = seen_faces(template, shape, (0, 45, -45), random)
        (alone,), fits = fit_person(template, faces[:1]), fit_person(template, faces)
        errors.append([np.abs(fit.shape - shape).mean() for fit in (alone, fits[0])])
        for fit, expression in zip(fits, expressions, strict=True):
            assert np.array_equal(fit.shape, fits[0].shape)
            assert np.abs(fit.expression - expression).max() < 0.35
    one, three = np.mean(errors, axis=0)
    assert three < 0.7 * one


def test_without_noise_every_photo_has_its_own_expression_camera_and_lens(template):
    random = np.random.default_rng(4)
    shape = random.normal(0, 1, SHAPES)
    cameras = [portrait_camera(-20, 0, 5), portrait_camera(35, 8, -12, at=(0.55, 0.48))]
    expressions = [np.array([0.6, 0.0, 0.1]), np.array([0.0, 0.4, 0.3])]
    faces = [
        SeenFace(
            project(camera, landmarks_of(template, shape, expression))[0], Lens(FOCAL, tuple(camera.intrinsics[:2, 2]))
        )
        for camera, expression in zip(cameras, expressions, strict=True)
    ]
    for fit, camera, expression in zip(fit_person(template, faces), cameras, expressions, strict=True):
        np.testing.assert_allclose(fit.shape, shape, atol=0.1)
        np.testing.assert_allclose(fit.expression, expression, atol=0.1)
        assert angle_between_deg(fit.camera, camera) < 0.5
        np.testing.assert_allclose(fit.camera.intrinsics, camera.intrinsics)


def test_a_photo_of_little_weight_hardly_counts(template):
    random = np.random.default_rng(5)
    shape = random.normal(0, 1, SHAPES)
    (good,), _ = seen_faces(template, shape, (10,), random, noise=0.001)
    (wrong,), _ = seen_faces(template, -shape, (-10,), random, noise=0.001)
    alone, *_ = fit_person(template, [good])
    both = [fit_person(template, [good, replace(wrong, weight=weight)])[0] for weight in (1e-4, 1.0)]
    away = [np.abs(fit.shape - alone.shape).max() for fit in both]
    assert away[0] < 0.05 < 0.3 < away[1]


def test_beliefs_of_several_photos_are_averaged_by_how_sure_they_are():
    def belief(shape, deviation):
        return CodePrior(np.array(shape), np.zeros(1), np.array(deviation), np.ones(1))

    one, other = belief([1.0, 1.0], [0.5, 0.1]), belief([3.0, 3.0], [0.5, 10.0])
    person = combined_shape([one, other], [1.0, 1.0])
    np.testing.assert_allclose(person.shape, [2.0, 1.0], atol=1e-3)
    # Half of the variance is the same in every photo; the other half is averaged out where both are as sure.
    np.testing.assert_allclose(person.shape_deviation, [0.5 * math.sqrt(0.75), 0.1], rtol=0.02)
    np.testing.assert_allclose(combined_shape([one, other], [3.0, 1.0]).shape[0], 1.5)
    assert combined_shape([one], [0.3]).shape_deviation.tolist() == one.shape_deviation.tolist()
