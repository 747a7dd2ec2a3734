# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.crop_camera import project_points
from backend.errors import ModelError
from backend.plane_lift import TRAINED_POINTS
from backend.training.encoder_examples import ExampleMaker
from tests.small_examples import PLAN, small_shard, write_small_shards
from tests.small_starter import AXES, small_starter


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def folder(starter, tmp_path_factory):
    return write_small_shards(tmp_path_factory.mktemp("shards"), starter)


def maker_of(starter, folder, **changes):
    return replace(ExampleMaker(starter.template, folder, PLAN, 32, 7, is_clean=True), **changes)


@pytest.fixture(scope="module")
def clean(starter, folder):
    return maker_of(starter, folder).batch(0, range(1, 3), 6)


def test_the_camera_puts_the_landmarks_where_the_crop_shows_them(starter, clean):
    template = starter.template
    corners = template.faces[template.landmark_faces]
    for row in range(6):
        offsets = template.offsets(clean["shape"][row].astype(float), clean["expression"][row].astype(float))
        placed = np.einsum("nk,nkc->nc", template.landmark_weights, (template.vertices + offsets)[corners])
        shown = project_points(torch.from_numpy(clean["camera"][row])[None], torch.from_numpy(placed).float()[None])[0]
        # The lens axis may pass beside the crop's middle.
        assert np.abs(shown.numpy() - clean["exact_landmarks"][row]).max() < 0.015
    np.testing.assert_allclose(clean["landmarks"], clean["exact_landmarks"], atol=1e-4)


def test_the_picture_shows_the_egg_where_the_landmarks_are(clean):
    side = clean["picture"].shape[-1]
    for picture, landmarks in zip(clean["picture"], clean["landmarks"], strict=True):
        x, y = np.clip((landmarks * side).astype(int), 0, side - 1).T
        assert picture[3, y, x].mean() > 0.8  # Some lie at the outline.
        outside = picture[3] == 0
        assert outside.any() and not picture[:3, outside].any()


def test_points_lie_on_the_egg_and_carry_its_colors(starter, clean):
    for prefix in ("", "other_"):
        points = clean[f"{prefix}points"]
        assert points.shape == (6, TRAINED_POINTS, 3)
        np.testing.assert_allclose(np.linalg.norm(points / AXES, axis=-1), 1, atol=0.005)
        z = torch.from_numpy(clean["z"])
        with torch.no_grad():
            planes = starter.generator.planes(starter.generator.map(z))
            color = starter.generator.decode(planes, torch.from_numpy(points))[1]
        off = np.abs(color.clamp(0, 1).numpy() * 255 - clean[f"{prefix}clean"])
        assert np.median(off) < 2
    np.testing.assert_array_equal(clean["photo"], clean["clean"])


def test_the_same_step_gives_the_same_batch_and_another_step_another(starter, folder):
    maker = maker_of(starter, folder, is_clean=False)
    one, again, other = maker.batch(5, range(1, 3), 3), maker.batch(5, range(1, 3), 3), maker.batch(6, range(1, 3), 3)
    for name, value in one.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    assert (one["picture"] != other["picture"]).any()


def test_detectors_are_off_by_about_a_millimetre_and_the_truth_is_not(starter, folder):
    batch = maker_of(starter, folder, is_clean=False).batch(1, range(1, 3), 8)
    metres = np.exp(batch["camera"][:, 5])[:, None]
    off_mm = 1000 * np.linalg.norm(batch["landmarks"] - batch["exact_landmarks"], axis=-1) / metres
    assert 0.7 < np.median(off_mm) < 4


def test_expressions_stand_in_the_template_s_order(starter, folder):
    shard = small_shard(starter, PLAN, 1)
    turned = {**shard, "expression_names": shard["expression_names"][::-1], "expression": shard["expression"][:, ::-1]}
    maker = maker_of(starter, folder)
    pair = [maker.example(each, 0, np.random.default_rng(0))["expression"] for each in (shard, turned)]
    np.testing.assert_array_equal(*pair)


def test_expressions_that_portraits_lack_are_told(starter, folder):
    shard = small_shard(starter, PLAN, 1)
    shard["expression_names"] = np.array(["somethingElse", *shard["expression_names"][1:]])
    with pytest.raises(ModelError, match="expression jawOpen, the portraits do not") as caught:
        maker_of(starter, folder).example(shard, 0, np.random.default_rng(0))
    assert caught.value.code == "other_version"


def test_a_shard_that_is_missing_is_told(starter, tmp_path):
    with pytest.raises(ModelError, match="missing"):
        maker_of(starter, tmp_path).batch(0, range(2, 3), 1)
