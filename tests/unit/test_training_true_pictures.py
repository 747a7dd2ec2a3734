# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from backend.camera import rays
from backend.errors import ModelError
from backend.training import true_pictures as module
from backend.training.canonical import FACE_CENTRE_M
from backend.training.dressing import BALD
from backend.training.true_pictures import (
    FACE_WEIGHT,
    FRAME_M,
    FRONT_DEG,
    PicturePlan,
    random_camera,
    true_pictures,
)
from tests.small_dataset import TOP_M, plain_heads, small_canonical
from tests.small_pictures import PLAN, small_photographer, small_pictures
from tests.small_starter import SIDE, egg_distance, small_generator


def test_a_picture_tells_where_the_head_is_seen():
    head = plain_heads(1)[0]
    assert head.dressing.style == BALD
    for picture in small_photographer().pictures(head, 0, PLAN):
        origin, directions = rays(picture.camera, PLAN.size_px)
        along = picture.depth.astype(float) + np.linalg.norm(origin)
        points = origin + along[..., None] * directions
        seen = picture.inside > 0
        bare = seen & (points[..., 1] > -0.05) & (np.abs(points).max(-1) < SIDE / 2 - 0.005)
        assert bare.sum() > 20 and np.abs(egg_distance(points[bare])).max() < 0.002
        assert (egg_distance(points[seen]) < TOP_M + 0.004).all()
        # A ray that misses stays clear of the egg everywhere.
        misses = directions[~seen]
        reach = origin + np.linspace(1.0, 1.4, 200)[:, None, None] * misses
        assert egg_distance(reach).min() > -0.001
        assert picture.color[~seen].max() == 0 and picture.color[seen].mean() > 5


def test_rays_that_miss_have_the_distance_of_the_nearest_one_that_does_not():
    picture = small_pictures()[0][0]
    row, column = np.nonzero(picture.inside)
    for i, j in np.argwhere(picture.inside == 0)[::17]:
        gap = (row - i) ** 2 + (column - j) ** 2
        nearest = picture.depth[row, column][gap == gap.min()]
        assert picture.depth[i, j] in nearest


def test_the_face_counts_more_its_surroundings_a_little_and_what_is_far_away_nothing():
    photographer = small_photographer()
    points = np.array([FACE_CENTRE_M, [0, 0.05, -0.09], [0.02, -SIDE / 2, 0.01]])
    assert photographer.weights(points).tolist() == [FACE_WEIGHT, 1, 0]
    picture = small_pictures()[0][0]
    away = picture.weight[picture.inside == 0]
    assert set(np.unique(away)) == {0, 1} and (picture.weight[0] == 0).any()


def test_eyes_count_most():
    canonical = small_canonical()
    is_eye = np.linalg.norm(np.abs(canonical.body_points) - [0.032, 0.02, 0.082], axis=1) < 0.015
    photographer = module.Photographer(small_generator(), replace(canonical, body_is_eye=is_eye))
    assert len(photographer.eyes) == 2
    assert (photographer.weights(np.stack(photographer.eyes)) == module.EYES_WEIGHT).all()


def test_cameras_see_the_face_more_often_than_not_and_always_the_head():
    cameras = [random_camera(np.random.default_rng([1, number])) for number in range(400)]
    yaw = np.array([np.degrees(np.arctan2(camera.position[0], camera.position[2])) for camera in cameras])
    front = np.mean(np.abs(yaw) < FRONT_DEG + 5)  # A camera that looks at the face stands a little elsewhere.
    assert 0.65 < front < 0.82  # 0.6, and a third of the others.
    assert yaw.min() < -150 and yaw.max() > 150
    for camera in cameras:
        axis, towards = camera.cam2world[:3, 2], -camera.position
        assert axis @ towards / np.linalg.norm(towards) > np.cos(np.radians(8))
        assert FRAME_M[0] <= 1.2 / camera.intrinsics[0, 0] <= FRAME_M[1]


def made(folder, plan, heads=None, name="heads"):
    heads = plain_heads(plan.heads) if heads is None else heads
    given = {"plan": plan, "heads_name": name, "workers": 1}
    return true_pictures(small_generator(bald=False), small_canonical(), heads, folder, **given)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD_HEADS", 2)


def test_shards_hold_what_each_head_gives_alone_and_are_read_again(tmp_path, monkeypatch, small_shards):
    plan = replace(PLAN, size_px=12)
    first = made(tmp_path, plan)
    files = sorted(path.name for path in tmp_path.rglob("*.pickle"))
    assert files == ["00000-2.pickle", "00002-1.pickle"]
    alone = small_photographer().pictures(plain_heads(3)[2], 2, plan)
    np.testing.assert_array_equal(first[2][1].color, alone[1].color)

    def refuse(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(module.Photographer, "pictures", refuse)
    again = made(tmp_path, plan)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0].depth, other[0].depth)
    with pytest.raises(AssertionError, match="made again"):
        made(tmp_path, plan, name="other heads")


def test_no_more_heads_than_there_are(tmp_path):
    assert len(made(tmp_path, PicturePlan(heads=50, views=1, size_px=8), heads=plain_heads(2))) == 2


def test_a_damaged_shard_is_named(tmp_path, small_shards):
    plan = PicturePlan(heads=1, views=1, size_px=8)
    made(tmp_path, plan)
    next(tmp_path.rglob("*.pickle")).write_bytes(b"half")
    with pytest.raises(ModelError, match="delete it") as caught:
        made(tmp_path, plan)
    assert caught.value.code == "result_damaged"
