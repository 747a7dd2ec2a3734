# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.camera import look_at_camera, project
from backend.errors import ModelError
from backend.face_mesh import MeshFit
from backend.face_mesh_points import MIRROR
from backend.inversion.parametric import IRIS_LANDMARKS
from backend.landmark_errors import POSE_TERMS, LandmarkErrors, in_image, pose_terms
from backend.photo_network import PhotoNetwork
from backend.training import detector_errors as module
from backend.training.detector_errors import Sighting, landmark_points, learn_errors, sight_shard, sight_shards
from tests.small_starter import EXPRESSIONS, SHAPES, small_template

PX = 64
SHIFT_M = np.array([0.002, -0.001])


def drawn(errors, count, seed):
    random = np.random.default_rng(seed)
    for number in range(count):
        yaw_deg, pitch_deg = random.uniform(-50, 50), random.uniform(-30, 30)
        error = np.tensordot(pose_terms(yaw_deg, pitch_deg), errors.bias, 1)
        error = error + np.tensordot(random.normal(size=len(errors.factors)), errors.factors, 1)
        yield Sighting(number, error + errors.rest[:, None] * random.normal(size=error.shape), yaw_deg, pitch_deg)


def symmetric(values, signs):
    """Numbers of landmarks that are their own mirror image; ``signs`` of what mirroring does to each term."""
    image = values[:, MIRROR[:IRIS_LANDMARKS]] * [-1, 1] * np.array(signs)[:, None, None]
    return (values + image) / 2


@pytest.fixture(scope="module")
def truth():
    random = np.random.default_rng(0)
    bias = symmetric(random.normal(0, 0.001, (POSE_TERMS, IRIS_LANDMARKS, 2)), [1, -1, 1, 1, -1, 1])
    factors = symmetric(random.normal(0, 0.004, (2, IRIS_LANDMARKS, 2)), [1, -1])
    factors[1] *= 0.5
    return LandmarkErrors(bias, factors, np.full(IRIS_LANDMARKS, 0.0005))


@pytest.fixture(scope="module")
def learnt(truth):
    return learn_errors(list(drawn(truth, 200, 1)), factors=2)


def test_bias_factors_and_rest_are_learnt(truth, learnt):
    off = [
        np.tensordot(pose_terms(yaw, pitch), learnt.bias - truth.bias, 1)
        for yaw, pitch in ((0, 0), (40, 0), (-40, 10), (10, -20))
    ]
    assert np.sqrt(np.mean(np.square(off))) < 0.0004
    for one, other in zip(truth.factors, learnt.factors, strict=True):
        assert abs(np.sum(one * other)) == pytest.approx(np.sum(one**2), rel=0.2)
    assert np.median(learnt.rest) == pytest.approx(0.0005, rel=0.1)


def test_both_sides_of_the_face_are_learnt_alike(learnt):
    mirror = MIRROR[:IRIS_LANDMARKS]
    image = learnt.bias[:, mirror] * [-1, 1] * np.array([1, -1, 1, 1, -1, 1])[:, None, None]
    np.testing.assert_allclose(image, learnt.bias, atol=1e-9)
    np.testing.assert_allclose(learnt.rest[mirror], learnt.rest, rtol=1e-6)


def test_too_few_portraits_are_refused(truth):
    with pytest.raises(ValueError, match="at least 4 portraits"):
        learn_errors(list(drawn(truth, 3, 0)), factors=2)


@pytest.fixture
def template():
    return replace(small_template(), expression_names=EXPRESSIONS)


YAWS_DEG = (0, 20, 80, -20, 10, 5)


def shard_of(template):
    """Six portraits of one person, of which the third is from the side."""
    random = np.random.default_rng(5)
    cameras = [look_at_camera(yaw_deg=yaw, pitch_deg=5, distance=1, focal=3) for yaw in YAWS_DEG]
    shape, expression = random.normal(0, 1, (1, SHAPES)), random.uniform(0, 0.5, (1, len(EXPRESSIONS)))
    points = landmark_points(template, shape[0], expression[0])
    images = [np.concatenate([project(camera, points)[0], np.full((10, 2), 0.5)]) for camera in cameras]
    return {
        "rgba": np.full((6, PX, PX, 4), 255, np.uint8), "person": np.zeros(6, int), "number": np.array([31]),
        "cam2world": np.stack([camera.cam2world for camera in cameras]),
        "intrinsics": np.stack([camera.intrinsics for camera in cameras]),
        "landmarks": np.stack(images), "shape": shape, "expression": expression[:, ::-1],
        "expression_names": np.array(EXPRESSIONS[::-1]), "pose": np.zeros((1, 6)),
    }  # fmt: skip


def answers(monkeypatch, template, shard, presence):
    """A mesh that sees every landmark of the portraits from in front off by the same."""
    rows = iter([row for row, yaw in enumerate(YAWS_DEG) if abs(yaw) < 50])

    def fit_mesh(mesh, pixels, candidate):
        row = next(rows)
        camera = look_at_camera(yaw_deg=YAWS_DEG[row], pitch_deg=5, distance=1, focal=3)
        points = landmark_points(template, shard["shape"][0], shard["expression"][0][::-1])
        shift = in_image(camera, points, np.tile(SHIFT_M, (len(points), 1)))
        seen = shard["landmarks"][row] + np.concatenate([shift, np.zeros((10, 2))])
        return MeshFit(seen * PX, np.zeros(478), presence[row], 0.01)

    monkeypatch.setattr(module, "fit_mesh", fit_mesh)


def test_errors_are_those_of_the_detector_and_three_portraits_of_a_person_are_enough(template, monkeypatch):
    shard = shard_of(template)
    answers(monkeypatch, template, shard, presence=[1, 0.2, 1, 1, 1, 1])
    found = sight_shard(template, PhotoNetwork.__new__(PhotoNetwork), shard, np.random.default_rng(0))
    assert [round(one.yaw_deg) for one in found] == [0, -20, 10] and {one.number for one in found} == {31}
    for one in found:
        np.testing.assert_allclose(one.error, np.tile(SHIFT_M, (IRIS_LANDMARKS, 1)), atol=1e-9)


def test_a_sightings_mirror_image_is_mirrored_back(truth):
    one = next(drawn(truth, 1, 3))
    image = one.mirrored()
    assert image.yaw_deg == -one.yaw_deg
    np.testing.assert_array_equal(image.mirrored().error, one.error)
    assert not np.allclose(image.error, one.error)


def test_a_damaged_file_of_portraits_is_named(template, tmp_path):
    path = tmp_path / "portraits-1.npz"
    path.write_bytes(b"no portraits")
    with pytest.raises(ModelError, match=r"portraits-1\.npz are missing, damaged") as caught:
        list(sight_shards(template, PhotoNetwork.__new__(PhotoNetwork), [path]))
    assert caught.value.code == "result_damaged"
