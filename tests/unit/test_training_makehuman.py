# SPDX-License-Identifier: Apache-2.0
import gzip
from pathlib import Path

import numpy as np
import pytest

from backend.errors import ModelError
from backend.mesh import is_closed
from backend.training.makehuman import (
    ARMS_LOWERED_DEG,
    BASE_VERTICES,
    BODY_VERTICES,
    EYE_JOINTS,
    EYEBALLS,
    JOINTS,
    ORIGIN_DM,
    MakeHuman,
    fit_proxy,
    joint,
    load_obj,
    load_proxy,
    load_target,
    lower_arms,
    read_asset_text,
    to_canonical,
)

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets" / "makehuman"
needs_assets = pytest.mark.skipif(not ASSETS.is_dir(), reason="the MakeHuman assets are not in ../shared")

SQUARE = (
    "v 0 0 0\nv 2 0 0\nv 2 2 0\nv 0 2 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\ng body\nf 1/1 2/2 3/3 4/4\ng helper\nf 1 2 3\n"
)


def test_the_origin_becomes_zero_and_decimetres_metres():
    np.testing.assert_allclose(to_canonical(ORIGIN_DM[None]), 0, atol=1e-15)
    np.testing.assert_allclose(to_canonical(ORIGIN_DM[None] + [[0, 0, 5.0]]), [[0, 0, 0.5]])


def test_polygons_become_fans_of_triangles_with_their_groups(tmp_path):
    (tmp_path / "square.obj").write_text(SQUARE)
    mesh = load_obj(tmp_path / "square.obj")
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])
    np.testing.assert_array_equal(mesh.faces_uv, [[0, 1, 2], [0, 2, 3], [0, 0, 0]])
    assert list(mesh.groups) == ["body", "body", "helper"]
    np.testing.assert_array_equal(mesh.vertices[2], [2, 2, 0])


def test_a_target_is_sparse_in_its_file(tmp_path):
    path = tmp_path / "one.target.gz"
    path.write_bytes(gzip.compress(b"# a comment\n7 0.1 -0.2 .3\n19157 1 2 3\n"))
    offsets = load_target(path)
    assert offsets.shape == (BASE_VERTICES, 3)
    np.testing.assert_allclose(offsets[[7, 19157]], [[0.1, -0.2, 0.3], [1, 2, 3]], rtol=1e-6)
    assert np.count_nonzero(offsets.any(1)) == 2


def write_proxy(folder, rows, *, scale="x_scale 0 1 2.0\n"):
    (folder / "square.obj").write_text(SQUARE)
    path = folder / "cap.mhclo"
    path.write_text(f"# name\nname cap\nobj_file square.obj\n{scale}verts 0\n{rows}\ndelete_verts\n0 - 5\n")
    return path


def test_a_proxy_hangs_on_three_vertices_or_on_one(tmp_path):
    path = write_proxy(tmp_path, "3\n0 1 2 0.5 0.25 0.25 0.1 0.2 0.3\n4\n5")
    proxy = load_proxy(path)
    base = np.random.default_rng(0).normal(size=(BASE_VERTICES, 3))
    base[[0, 1], 0] = (-2.0, 2.0)  # Twice as wide as at rest: x offsets double.
    fitted = fit_proxy(proxy, base)
    np.testing.assert_allclose(fitted[[0, 2, 3]], base[[3, 4, 5]])
    expected = 0.5 * base[0] + 0.25 * base[1] + 0.25 * base[2] + [0.2, 0.2, 0.3]
    np.testing.assert_allclose(fitted[1], expected, rtol=1e-6)


def test_a_proxy_that_does_not_fit_its_mesh_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="does not fit") as caught:
        load_proxy(write_proxy(tmp_path, "3\n4"))
    assert caught.value.code == "asset_damaged"


def test_a_missing_or_damaged_asset_is_a_model_error(tmp_path):
    good = gzip.compress(b"1 2 3 4\n" * 200)
    files = {"none.target.gz": None, "cut.target.gz": good[:-12], "no.target.gz": b"not gzip", "bad.target.gz": None}
    broken = bytearray(good)
    broken[12:18] = b"\xff" * 6
    files["bad.target.gz"] = bytes(broken)
    for name, content in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="--assets") as caught:
            read_asset_text(tmp_path / name)
        assert caught.value.code == "asset_missing"
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    with pytest.raises(ModelError, match="no faces"):
        load_obj(tmp_path / "empty.obj")
    with pytest.raises(ModelError):
        _ = MakeHuman(tmp_path).base


def test_arms_turn_about_their_shoulders_by_their_weight():
    random = np.random.default_rng(0)
    base = random.normal(size=(BASE_VERTICES, 3))
    weights = np.zeros((BASE_VERTICES, 2))
    assert np.array_equal(lower_arms(base, weights), base)
    weights[0, 0] = weights[1, 1] = 1.0
    left, right = (joint(base, JOINTS[name]) for name in ("shoulder_left", "shoulder_right"))
    base[0], base[1] = np.add(left, (1, 0, 0)), np.subtract(right, (1, 0, 0))
    moved = lower_arms(base, weights)
    down = np.radians(ARMS_LOWERED_DEG)
    np.testing.assert_allclose(moved[0] - left, [np.cos(down), -np.sin(down), 0], atol=1e-12)
    np.testing.assert_allclose(moved[1] - right, [-np.cos(down), -np.sin(down), 0], atol=1e-12)
    np.testing.assert_array_equal(moved[2:], base[2:])


@pytest.fixture(scope="module")
def makehuman():
    return MakeHuman(ASSETS)


@needs_assets
def test_the_base_mesh_is_the_expected_one(makehuman):
    assert len(makehuman.base.vertices) == BASE_VERTICES
    assert makehuman.body.faces.max() == BODY_VERTICES - 1
    assert is_closed(makehuman.body.faces)


@needs_assets
def test_eyes_are_where_the_joints_say(makehuman):
    base = makehuman.base.vertices
    left, right = (joint(base, first) for first in EYE_JOINTS)
    np.testing.assert_allclose(left, right * [-1, 1, 1], atol=0.01)
    assert left[0] > 0.2  # The subject's left is +x.
    for place, eyeball in zip((left, right), EYEBALLS, strict=True):
        np.testing.assert_allclose(base[eyeball].mean(0), place, atol=0.05)
    fitted = fit_proxy(makehuman.eyes, base)
    assert np.abs(fitted[fitted[:, 0] > 0].mean(0) - left).max() < 0.08


@needs_assets
def test_arm_weights_are_shares(makehuman):
    weights = makehuman.arm_weights
    assert weights.min() >= 0 and weights.max() <= 1 and weights.sum(1).max() <= 1 + 1e-6
    hand = makehuman.base.vertices[:, 0].argmax()
    np.testing.assert_allclose(weights[hand], [1, 0])
    head = makehuman.base.vertices[:BODY_VERTICES, 1].argmax()
    np.testing.assert_array_equal(weights[head], 0)


@needs_assets
def test_hair_and_tops_lie_on_the_body(makehuman):
    base = makehuman.base.vertices
    hair = to_canonical(fit_proxy(makehuman.hair("short02"), base))
    top = to_canonical(fit_proxy(makehuman.top("male_casualsuit02"), base))
    assert hair[:, 1].mean() > 0.03 and np.abs(hair).max() < 0.2
    assert top[:, 1].max() < -0.05
