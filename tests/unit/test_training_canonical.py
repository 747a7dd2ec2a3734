# SPDX-License-Identifier: Apache-2.0
from dataclasses import fields
from functools import partial

import numpy as np
import pytest

from backend.errors import ModelError
from backend.template import Template
from backend.training import canonical as module
from backend.training import prepare as preparing
from backend.training.canonical import CanonicalSet, build_canonical_set, sample_lattice
from backend.training.heads import HeadShapes
from backend.training.makehuman import BASE_VERTICES, MakeHuman, to_canonical
from backend.training.masks import MASKS
from backend.training.prepare import Prepared, load_heads, prepare
from backend.training.solid import SIDE, carve, lattice_points
from backend.training.template import TemplateAnchors
from tests.mean_body import makehuman, mean_solid, needs_assets, parted_base

NODES = 32


def test_a_lattice_of_a_linear_function_is_that_function():
    nodes = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (9, 9, 9))
    slope = np.array([0.3, -1.0, 2.0])
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 3))
    np.testing.assert_allclose(sample_lattice(nodes @ slope, points), points @ slope, atol=1e-12)


def test_beyond_the_cube_the_border_goes_on():
    lattice = lattice_points(np.full(3, -SIDE / 2), np.full(3, SIDE / 2), (5, 5, 5))[..., 0]
    np.testing.assert_allclose(sample_lattice(lattice, np.array([[0.5, 0.0, 0.0]])), SIDE / 2)


def build(seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LATTICE_NODES", NODES)
        patch.setattr(module, "BODY_POINTS", 3000)
        patch.setattr(module, "CAVITY_POINTS", 100)
        patch.setattr(module, "POOL_POINTS", 500)
        patch.setattr(module, "HAIR_STYLES", ("short02",))
        patch.setattr(module, "TOPS", ("male_casualsuit02",))
        patch.setattr(module, "carve", partial(carve, directions=12, seen_by=2))
        return build_canonical_set(makehuman(), mean_solid(), parted_base(), np.random.default_rng(seed))


@pytest.fixture(scope="module")
def canonical():
    return build(0)


@needs_assets
def test_body_points_lie_on_the_skin(canonical):
    assert np.abs(canonical.body_points).max() < SIDE / 2 + 0.02
    assert np.abs(mean_solid().distance(canonical.body_points.astype(np.float64))).max() < 0.0011
    assert 2000 < len(canonical.body_points) <= 3100


@needs_assets
def test_every_body_point_knows_its_place_on_the_rest_mesh(canonical):
    """Rest and mean body differ by lowered arms and parted lips alone: on the upper face they agree."""
    upper = canonical.body_points[:, 1] > 0.02
    place = to_canonical(canonical.body_base.astype(np.float64))
    np.testing.assert_allclose(place[upper], canonical.body_points[upper], atol=0.001)


@needs_assets
def test_the_wall_behind_the_open_lips_is_the_inside_of_a_mouth(canonical):
    wall = (canonical.body_base == np.float32(module.DEEP_IN_MOUTH_DM)).all(1)
    assert 50 < wall.sum() <= 100
    inside = canonical.body_masks[wall]
    np.testing.assert_array_equal(inside, np.tile([name == "inside-mouth" for name in MASKS], (len(inside), 1)))
    assert not canonical.body_is_eye[wall].any()


@needs_assets
def test_eyes_are_marked(canonical):
    eyes = canonical.body_points[canonical.body_is_eye]
    assert len(eyes) > 5 and (np.abs(np.abs(eyes[:, 0]) - 0.032) < 0.015).all() and (eyes[:, 2] > 0.05).all()


@needs_assets
def test_shade_and_masks_are_shares(canonical):
    assert canonical.body_shade.min() >= 0 and canonical.body_shade.max() <= 1
    assert canonical.body_shade.mean() > 0.5
    assert list(canonical.mask_names) == list(MASKS)
    assert canonical.body_masks.min() >= 0 and canonical.body_masks.max() <= 1
    lips = canonical.body_masks[:, list(MASKS).index("lips")] > 0.9
    assert lips.any() and (np.abs(canonical.body_points[lips] - [0, -0.04, 0.1]).max(0) < 0.05).all()


@needs_assets
def test_hair_covers_the_crown_and_not_the_face(canonical):
    crown, nose = np.array([[0.0, 0.135, -0.02]]), np.array([[0.0, -0.005, 0.125]])
    hair = canonical.hair[0].astype(np.float32)
    assert sample_lattice(hair, crown) < 0.012
    assert sample_lattice(hair, nose) > 0.001
    assert canonical.hair.dtype == np.float16


@needs_assets
def test_a_top_lies_on_the_shoulders_and_sinks_under_the_face(canonical):
    top = canonical.tops[0].astype(np.float32)
    assert sample_lattice(top, np.array([[0.12, -0.19, -0.02]])) < 0
    skin = canonical.body_points[canonical.body_points[:, 1] > 0.0].astype(np.float64)
    assert np.median(sample_lattice(top, skin)) > 0.004


@needs_assets
def test_pools_lie_near_their_surface_outside_the_body(canonical):
    for lattice, pool in ((canonical.hair[0], canonical.hair_pool[0]), (canonical.tops[0], canonical.top_pool[0])):
        assert pool.shape == (500, 3)
        assert np.abs(sample_lattice(lattice.astype(np.float64), pool)).max() < module.POOL_BAND_M + 1e-4
        assert sample_lattice(canonical.body, pool).min() > -0.004 - 1e-6


@needs_assets
def test_a_set_is_read_as_it_was_written(canonical, tmp_path):
    canonical.save(tmp_path / "set.npz")
    loaded = CanonicalSet.load(tmp_path / "set.npz")
    for entry in fields(CanonicalSet):
        np.testing.assert_array_equal(getattr(loaded, entry.name), getattr(canonical, entry.name))


def test_missing_assets_are_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="--assets"):
        load_heads(tmp_path)


@needs_assets
def test_normals_point_out_of_the_body(canonical):
    np.testing.assert_allclose(np.linalg.norm(canonical.body_normals, axis=1), 1, atol=0.01)
    on_skin = canonical.body_points[~canonical.body_is_eye][:500].astype(np.float64)
    outwards = canonical.body_normals[~canonical.body_is_eye][:500]
    rise = mean_solid().distance(on_skin + 0.001 * outwards) - mean_solid().distance(on_skin - 0.001 * outwards)
    assert np.median(rise) == pytest.approx(0.002, rel=0.05)


def test_noise_of_locks_runs_along_hair_that_falls():
    locks, curls = module.hair_noise(48)
    assert np.abs(locks).max() <= 1 and np.abs(curls).max() <= 1
    down, around = np.abs(np.diff(locks, axis=1)).mean(), np.abs(np.diff(locks, axis=0)).mean()
    assert down < 0.5 * around
    assert np.abs(np.diff(curls, axis=1)).mean() == pytest.approx(np.abs(np.diff(curls, axis=0)).mean(), rel=0.1)


@pytest.fixture
def nothing_prepared():
    empty = np.zeros((0, 3))
    none = np.zeros(0, np.int64)
    template = Template(
        np.zeros((1, 3)), np.zeros((0, 3), np.int64), np.zeros(1, np.int64), np.zeros((1, 3)), np.zeros((1, 1, 3)),
        np.zeros((1, 1, 3)), ("jawOpen",), none, empty, np.zeros(0),
    )  # fmt: skip
    lattice = np.zeros((2, 2, 2), np.float32)
    points = np.zeros((1, 3), np.float32)
    worn = np.zeros((1, 2, 2, 2), np.float16)
    canonical = CanonicalSet(
        points, points, points, points[:, :2], np.zeros(1, bool), points[:, 0], np.array(["a", "b"]),
        worn, points[None], worn, points[None], np.zeros((2, 2, 2, 2), np.float16), lattice,
    )  # fmt: skip
    base = np.zeros((BASE_VERTICES, 3))
    anchors = TemplateAnchors(np.zeros((1, 3), np.int64), np.zeros((1, 3)))
    return Prepared(template, anchors, lattice, lattice, canonical, base, base)


@pytest.fixture
def made(nothing_prepared, monkeypatch):
    """Steps of ``prepare`` in the order in which they were made; each makes nothing."""
    ready, steps = nothing_prepared, []

    def step(name, result):
        def make(*arguments):
            steps.append(name)
            return result

        return make

    bases = (ready.template, ready.anchors, ready.closed_base, ready.parted_base)
    monkeypatch.setattr(preparing, "_template", step("template", bases))
    monkeypatch.setattr(preparing, "_canonical", step("canonical", ready.canonical))
    monkeypatch.setattr(preparing, "_lattices", step("lattices", (ready.body_lattice, ready.face_lattice)))
    monkeypatch.setattr(preparing, "BodySolid", lambda makehuman, base: None)
    return steps


def prepare_in(folder, tmp_path, **numbers):
    heads = HeadShapes.__new__(HeadShapes)
    heads.makehuman = MakeHuman(tmp_path)
    return prepare(heads, folder, **{"samples": 3, "components": 2, "seed": 1, "workers": 1, "log": print, **numbers})


def test_what_was_prepared_is_taken_from_the_cache(made, tmp_path):
    for _ in range(2):
        found = prepare_in(tmp_path / "work", tmp_path)
        assert found.template.expression_names == ("jawOpen",)
    assert made == ["template", "canonical", "lattices"]
    assert not list((tmp_path / "work").glob("*.partial"))


def test_other_numbers_are_made_anew_and_what_does_not_depend_on_them_is_not(made, tmp_path):
    prepare_in(tmp_path, tmp_path)
    made.clear()
    prepare_in(tmp_path, tmp_path, components=3)
    assert made == ["template"]
    prepare_in(tmp_path, tmp_path, seed=2)
    assert made == ["template", "template", "canonical"]


def test_a_cache_that_was_cut_off_is_a_model_error(made, tmp_path):
    prepare_in(tmp_path, tmp_path)
    (file,) = tmp_path.glob("canonical-*.pickle")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ModelError, match="delete it"):
        prepare_in(tmp_path, tmp_path)
