# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.errors import ModelError
from backend.training.heads import ANCESTRIES, INTEROCULAR_DM, HeadShapes, _pairs, _three_way
from backend.training.ict import identity_modes, load_ict
from backend.training.makehuman import BASE_VERTICES, BODY_VERTICES, EYE_JOINTS, EYEBALLS, MakeHuman, joint

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets"
ICT = ASSETS / "ict_facekit" / "ict_facekit.npz"
needs_assets = pytest.mark.skipif(
    not (ICT.is_file() and (ASSETS / "makehuman").is_dir()), reason="the training assets are not in ../shared"
)


@pytest.fixture(scope="module")
def makehuman():
    return MakeHuman(ASSETS / "makehuman")


@pytest.fixture(scope="module")
def modes(makehuman):
    return identity_modes(makehuman, ICT)


@pytest.fixture(scope="module")
def heads(makehuman, modes):
    return HeadShapes(makehuman, modes, {})


def eyes_of(base):
    return [joint(base, first) for first in EYE_JOINTS]


def test_marks_of_a_slider_interpolate_and_add_up_to_one():
    names = ("child", "young", "old")
    assert _three_way(0.1875, names, low=0.1875, middle=0.5) == {"child": 1, "young": 0, "old": 0}
    assert _three_way(0.5, names, low=0.1875, middle=0.5) == {"child": 0, "young": 1, "old": 0}
    assert _three_way(1.0, names, low=0.1875, middle=0.5) == {"child": 0, "young": 0, "old": 1}
    assert _three_way(0.75, names, low=0.1875, middle=0.5) == {"child": 0, "young": 0.5, "old": 0.5}
    for value in np.linspace(0, 1, 21):
        weights = _three_way(value, names, low=0.1875, middle=0.5)
        assert sum(weights.values()) == pytest.approx(1) and min(weights.values()) >= 0


def test_targets_that_undo_each_other_are_one_slider():
    names = ["nose-decr", "nose-incr", "chin-up", "chin-down", "ear-pointed", "l-eye-in", "l-eye-out", "up-in"]
    pairs = set(_pairs(names))
    assert {("nose-decr", "nose-incr"), ("chin-down", "chin-up"), ("l-eye-in", "l-eye-out")} <= pairs
    assert {("", "ear-pointed"), ("", "up-in")} <= pairs
    assert len(pairs) == 5


@needs_assets
def test_the_same_seed_gives_the_same_head(heads):
    one, again, other = (heads.build(heads.sample(np.random.default_rng(seed))) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.05


@needs_assets
def test_eyes_are_at_their_fixed_distance_and_place(heads):
    rest = np.mean(eyes_of(heads.makehuman.base.vertices), axis=0)
    for seed in range(4):
        left, right = eyes_of(heads.build(heads.sample(np.random.default_rng(seed))))
        assert np.linalg.norm(left - right) == pytest.approx(INTEROCULAR_DM, abs=1e-9)
        np.testing.assert_allclose((left + right) / 2, rest, atol=1e-9)
    assert INTEROCULAR_DM == 0.63


@needs_assets
def test_macro_weights_of_each_kind_add_up_to_one(heads):
    for seed in range(5):
        identity = heads.sample(np.random.default_rng(seed))
        weights = [weight for weight, _ in heads._macro_weights(identity)]
        # Ancestry, gender and age make one sum; gender, age, muscle and weight the other.
        assert sum(weights) == pytest.approx(2, abs=0.01)
        assert min(weights) > 0


@needs_assets
def test_a_pure_macro_identity_is_its_target(heads):
    identity = replace(heads.average(), gender=1.0, age=0.5, ancestry=np.array([0.0, 0.0, 1.0]))
    names = {id(target): name for name, target in heads._macro.items()}
    chosen = {names[id(target)]: weight for weight, target in heads._macro_weights(identity)}
    assert chosen == {("caucasian", "male", "young"): 1.0, ("male", "young", "average", "average"): 1.0}
    assert ANCESTRIES[2] == "caucasian"


@needs_assets
def test_sampled_numbers_are_in_range(heads):
    for seed in range(20):
        one = heads.sample(np.random.default_rng(seed))
        assert 0 <= one.gender <= 1 and 0.38 <= one.age <= 1
        assert one.ancestry.sum() == pytest.approx(1) and one.ancestry.min() >= 0
        assert np.abs(one.sliders).max() <= 1 and np.abs(one.asymmetry).max() <= 0.4
        assert 0 <= one.muscle <= 1 and 0 <= one.weight <= 1


@needs_assets
def test_the_average_head_is_symmetric_but_for_the_modes(heads):
    """Its mirror image is itself, within MakeHuman's own asymmetry."""
    from scipy.spatial import cKDTree

    average = heads.build(heads.average())[:BODY_VERTICES]
    face = average[average[:, 1] > 6]
    distance, _ = cKDTree(average).query(face * [-1, 1, 1])
    assert np.percentile(distance, 99) < 0.02


@needs_assets
def test_sliders_move_both_sides_of_the_face(heads):
    base = heads.makehuman.base.vertices[:BODY_VERTICES]
    for name, offsets in zip(heads.slider_names, heads._positive, strict=True):
        if not name.split("/")[1].startswith("l-"):
            continue
        length = np.linalg.norm(offsets[:BODY_VERTICES], axis=1)
        left, right = length[base[:, 0] > 0.01].sum(), length[base[:, 0] < -0.01].sum()
        assert left == pytest.approx(right, rel=0.1), name


@needs_assets
def test_identity_modes_move_the_face_and_leave_the_body(makehuman, modes):
    base = makehuman.base.vertices
    assert modes.shape[1:] == (BASE_VERTICES, 3) and np.isfinite(modes).all()
    length = np.linalg.norm(modes, axis=2)
    face = (base[:BODY_VERTICES, 1] > 6.4) & (base[:BODY_VERTICES, 2] > 0.8) & (np.abs(base[:BODY_VERTICES, 0]) < 0.7)
    assert 0.003 < length[:5, :BODY_VERTICES][:, face].mean() < 0.2  # Decimetres: 0.3 to 20 mm.
    assert not length[:, base[:, 1] < 5.5].any()


@needs_assets
def test_eyeballs_move_in_one_piece(makehuman, modes):
    for eyeball in EYEBALLS:
        np.testing.assert_allclose(modes[:, eyeball], modes[:, eyeball].mean(1, keepdims=True).repeat(72, 1), atol=1e-6)


@needs_assets
def test_ict_is_read_as_triangles_of_its_skin():
    ict = load_ict(ICT)
    assert ict.faces.shape[1] == 3 and ict.faces.max() < len(ict.neutral)
    assert ict.identity.shape[1:] == ict.neutral.shape


def test_a_missing_or_damaged_ict_file_is_a_model_error(tmp_path):
    np.savez(tmp_path / "other.npz", faces=np.zeros((1, 4), int))
    np.savez(
        tmp_path / "whole.npz", faces=np.zeros((900, 4), int), neutral=np.zeros((9, 3)), identity=np.zeros((1, 9, 3))
    )
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-300])
    (tmp_path / "text.npz").write_bytes(b"no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("none", "other", "cut", "text", "empty"):
        with pytest.raises(ModelError, match="--assets"):
            load_ict(tmp_path / f"{name}.npz")


def test_missing_targets_are_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="--assets"):
        HeadShapes(MakeHuman(tmp_path), np.zeros((0, BASE_VERTICES, 3), np.float32), {})
