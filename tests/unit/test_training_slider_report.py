# SPDX-License-Identifier: Apache-2.0
import csv
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from backend.directions import Direction
from backend.head import Slider
from backend.training import slider_report as module
from backend.training.slider_report import ATTRIBUTES, TRAVEL, SliderBench, flipped_share, mean_of_found, picture
from scripts.measure_sliders import to_markdown, write_csv
from tests.small_starter import SHAPES, small_starter


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FACES", 2000)
        patch.setattr(module, "PICTURE_PX", 96)
        patch.setattr(module, "detect_faces", lambda pixels: [])
        yield SliderBench(small_starter(bald=False), 1)


@pytest.fixture(scope="module")
def scores(bench):
    named = [Direction(Slider("Nose length", "Shape", -2.0, 2.0), np.zeros(12), np.eye(SHAPES)[0], np.zeros(3))]
    return {d.slider.name: bench.score(d) for d in [*named, *bench.starter.directions[1:3]]}


def test_a_sliders_own_attribute_changes_as_the_template_says(bench, scores):
    template = bench.starter.template
    one = scores["Nose length"]
    truth = module.measure_places(template, template.shape[0])[ATTRIBUTES.index("Nose length")]
    assert one.own == "Nose length" and one.spearman == pytest.approx(np.sign(truth))
    assert one.effect == pytest.approx(truth / bench.spread[ATTRIBUTES.index("Nose length")], rel=1e-6)
    assert np.isnan(one.leakage[ATTRIBUTES.index("Nose length")])


def test_leakage_is_the_change_of_all_other_attributes(bench, scores):
    template = bench.starter.template
    moves = module.measure_places(template, template.shape[0]) / bench.spread[: len(module.MEASURES)]
    found = scores["Nose length"].leakage[: len(moves)]
    other = ~np.isnan(found)
    assert other.sum() == len(moves) - 1
    np.testing.assert_allclose(found[other], moves[other], atol=1e-9)


def test_an_expression_is_measured_by_how_far_it_goes(bench, scores):
    one = scores["Mouth open"]
    furthest = np.linalg.norm(bench.starter.template.expression[0], axis=1).max()
    assert one.own == TRAVEL and one.spearman == pytest.approx(1)
    assert one.effect == pytest.approx(furthest, rel=1e-6)
    assert 0 <= one.flipped < 0.5


def test_without_a_face_there_is_no_identity(scores):
    assert np.isnan(scores["Mouth open"].identity).all()
    assert mean_of_found([float("nan"), 0.25, 0.75]) == 0.5


def test_a_triangle_turned_over_is_flipped_and_a_shifted_or_tilted_one_is_not():
    triangle, faces = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]])
    assert flipped_share(triangle, triangle + 3.0, faces) == 0
    assert flipped_share(triangle, triangle + np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1]]), faces) == 0
    assert flipped_share(triangle, triangle * [-1, 1, 1], faces) == 1
    both = np.concatenate([triangle, triangle])
    assert flipped_share(both, np.concatenate([triangle, -triangle[:, ::-1]]), np.arange(6).reshape(2, 3)) == 0
    assert flipped_share(both, np.concatenate([triangle, triangle * [1, -1, 1]]), np.arange(6).reshape(2, 3)) == 0.5


def test_a_picture_shows_the_colours_on_grey():
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    vertices, faces = np.asarray(sphere.vertices), np.asarray(sphere.faces)
    pixels = picture(vertices, faces, np.tile([1.0, 0.0, 0.0], (len(vertices), 1)))
    middle = len(pixels) // 2
    assert pixels[middle, middle, 0] > 180 and (pixels[middle, middle, 1:] == 0).all()
    assert (pixels[0, 0] == 128).all()


def test_the_tables_hold_every_slider(scores, tmp_path):
    write_csv(tmp_path / "sliders.csv", list(scores.values()))
    rows = list(csv.reader((tmp_path / "sliders.csv").read_text(encoding="utf-8").splitlines()))
    assert [row[0] for row in rows[1:]] == list(scores) and len(rows[0]) == len(rows[1]) == 10 + len(ATTRIBUTES)
    page = to_markdown(list(scores.values()), 1)
    assert all(f"| {name} |" in page for name in scores) and "## Expression" in page


def test_a_leak_is_named_in_the_table(scores):
    leakage = np.zeros(len(ATTRIBUTES))
    leakage[ATTRIBUTES.index("Jaw width")] = -0.4
    page = to_markdown([replace(scores["Nose length"], leakage=leakage)], 1)
    assert "Jaw width -0.40" in page
