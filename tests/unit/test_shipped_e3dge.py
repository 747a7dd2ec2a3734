# SPDX-License-Identifier: Apache-2.0
"""The geometry-aware encoder that ships belongs to the starter that ships, and has learnt something."""

import pytest

from backend.e3dge import load_e3dge
from backend.folders import starter_e3dge_path, starter_path
from backend.starter import load_starter
from backend.training.e3dge_head import ShapeSpace
from backend.training.e3dge_pairs import make_pairs
from backend.training.e3dge_report import measure_codes, measure_detail
from backend.training.e3dge_samples import SamplePlan, make_samples

SEED = 5  # The training's is 211.


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Of heads that no training has drawn."""
    folder = tmp_path_factory.mktemp("heads")
    starter = load_starter(starter_path())
    encoder, generator_id = load_e3dge(starter_e3dge_path())
    assert generator_id == starter.identity["id"]
    encoder.eval().requires_grad_(False)
    space = ShapeSpace(starter.template, starter.generator.config.side, starter.generator.mean_planes.device)
    samples = make_samples(starter, space, SamplePlan(heads=6, views=2, size_px=96, seed=SEED), folder)
    pairs = make_pairs(starter, space, encoder.codes, samples, seed=SEED, folder=folder)
    return measure_codes(starter, space, encoder.codes, samples) | measure_detail(starter, encoder.detail, pairs)


def test_told_heads_are_nearer_than_the_average_one(scores):
    assert scores["surface_mm"] < 0.85 * scores["average_surface_mm"]
    assert scores["color"] < 0.9 * scores["average_color"]


def test_the_local_stage_brings_colours_closer_from_all_sides(scores):
    assert scores["seen"] < 0.85 * scores["seen_before"]
    assert scores["novel"] < 0.97 * scores["novel_before"]
