# SPDX-License-Identifier: Apache-2.0
"""Both stages' training on drawn eggs: samples, what the encoder sees of them, runs that resume, the whole way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.e3dge import DetailBranch, load_e3dge
from backend.errors import ModelError, SettingsError
from backend.starter import save_starter
from backend.starter_encoder import EncoderConfig, StarterEncoder, save_encoder
from backend.training import e3dge_build
from backend.training.e3dge import DetailTrainer, DetailTraining, GlobalTrainer, GlobalTraining, pair_losses
from backend.training.e3dge_build import E3dgePreset, build_e3dge
from backend.training.e3dge_examples import UNLIT, example, lit, view_normals, view_points
from backend.training.e3dge_pairs import make_pairs
from backend.training.e3dge_samples import SamplePlan, draw_description, draw_expression
from backend.training.light import linear_from_bytes
from tests.resumed import check_resumes
from tests.small_samples import SIZE, face_starter, samples_of, small_sizes, space_of
from tests.small_starter import AXES

SHORT = GlobalTraining(steps=4, views_per_step=3, fields_per_step=2, warmup_steps=2, log_steps=2)
FINE = DetailTraining(steps=4, pairs_per_step=2, novel_points=32, warmup_steps=2, log_steps=2)


@pytest.fixture(scope="module")
def starter():
    return face_starter()


@pytest.fixture(scope="module")
def space(starter):
    return space_of(starter)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="module")
def samples(starter, space, folder):
    return samples_of(starter, space, folder)


@pytest.fixture(scope="module")
def pairs(starter, space, folder, samples):
    torch.manual_seed(0)
    encoder = StarterEncoder(small_sizes(starter)).eval()
    return make_pairs(starter, space, encoder, samples, seed=3, folder=folder)


def global_trainer(starter, space, samples, folder, config=SHORT):
    return GlobalTrainer(starter, space, samples, config=config, folder=folder, sizes=small_sizes(starter))


def detail_trainer(starter, pairs, folder):
    torch.manual_seed(1)
    branch = DetailBranch(channels=4, side_px=8)
    return DetailTrainer(starter, pairs, config=FINE, folder=folder, branch=branch)


def test_descriptions_stay_among_the_candidates_and_expressions_are_faces(starter):
    rng = np.random.default_rng(0)
    low, high = starter.candidates.numpy().min(0), starter.candidates.numpy().max(0)
    for _ in range(20):
        z = draw_description(starter, rng)
        assert ((z >= low) & (z <= high)).all()
    names = ("jawOpen", "mouthSmileLeft", "mouthSmileRight")
    drawn = np.stack([draw_expression(names, rng) for _ in range(300)])
    assert drawn.min() == 0 and 0.8 < drawn.max() <= 1
    assert 0.2 < (drawn == 0).all(1).mean() < 0.4
    together = drawn[(drawn[:, 1:] > 0).any(1)]
    assert (together[:, 1] == together[:, 2]).mean() > 0.5


def test_samples_show_the_egg_where_their_cameras_say(starter, samples):
    rest = dict(samples[0])
    points = view_points(rest, 0)
    known = np.isfinite(points).all(-1)
    assert 0.2 < known.mean() < 0.95
    # Shape and expression move the egg's surface by millimetres.
    reach = np.linalg.norm(points[known] / AXES, axis=1)
    assert np.abs(reach - 1).max() < 0.25 and np.abs(reach - 1).mean() < 0.1
    assert (np.abs(samples[0]["exact_landmarks"] - samples[0]["landmarks"]).mean()) < 0.03


def test_samples_are_the_same_again_and_kept(starter, space, samples, folder, tmp_path):
    for one, other in zip(samples, samples_of(starter, space, tmp_path), strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])
    file = next(folder.glob("samples-*.pickle"))
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    with pytest.raises(ModelError) as caught:
        samples_of(starter, space, folder)
    assert caught.value.code == "result_damaged"
    file.write_bytes(whole)


def test_normals_point_out_of_the_egg(samples):
    points, normals = view_points(samples[0], 0), view_normals(samples[0], 0)
    is_known = np.isfinite(points).all(-1)
    outward = points[is_known] / AXES**2
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    # Coarse pictures, and waves on the egg.
    assert np.median((outward * normals[is_known]).sum(-1)) > 0.9
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)


def test_even_light_shows_the_generator_s_own_colours(samples):
    color = samples[0]["color"][0]
    shown = lit(samples[0], 0, UNLIT)
    dim = (linear_from_bytes(color) < 0.6).all(-1)  # Film's shoulder bends what is brighter.
    assert dim.any()
    np.testing.assert_allclose(shown[dim].astype(int), color[dim].astype(int), atol=2)


def test_an_example_holds_what_the_encoder_sees(samples):
    one = example(samples[0], 1, np.random.default_rng(2), size_px=32)
    assert one["picture"].shape == (4, 32, 32) and one["photo"].shape == (SIZE, SIZE, 3)
    assert np.abs(one["picture"][:3]).max() <= 1.001 and not one["pose"].any()
    assert not one["picture"][:3, one["picture"][3] == 0].any()


@pytest.mark.parametrize("stage", ["global", "detail"])
def test_a_run_taken_up_again_ends_bit_for_bit_where_an_unbroken_one_does(
    stage, starter, space, samples, pairs, tmp_path
):
    def trainer(folder):
        if stage == "global":
            return global_trainer(starter, space, samples, folder)
        return detail_trainer(starter, pairs, folder)

    check_resumes(trainer, tmp_path)


def test_one_head_is_learnt_by_heart(starter, space, samples, tmp_path):
    config = replace(SHORT, steps=60, views_per_step=2, fields_per_step=1, learning_rate=3e-3, decay_from=0.8)
    trainer = global_trainer(starter, space, samples[:1], tmp_path, config)
    first = trainer.next_step()
    for _ in range(59):
        trainer.step += 1
        last = trainer.next_step()
    assert last["shape_mm"] < 0.6 * first["shape_mm"]
    assert last["surface_mm"] < 0.7 * first["surface_mm"]


def test_the_local_stage_learns_colours_that_the_codes_lack(starter, pairs, tmp_path):
    trainer = detail_trainer(starter, pairs[:1], tmp_path)
    rng = np.random.default_rng(0)
    before = pair_losses(starter, trainer.branch, pairs[:1], rng, novel=32)
    for number in range(40):
        trainer.step = min(number, FINE.steps - 1)
        last = trainer.next_step()
    assert last["seen"] < 0.8 * float(before["seen_before"])


def preset():
    return E3dgePreset(
        samples=SamplePlan(heads=3, views=2, size_px=SIZE, seed=5), held_out=1, pairs=3, size_px=SIZE, codes=SHORT,
        detail=FINE,
    )  # fmt: skip


@pytest.fixture
def way(starter, tmp_path, monkeypatch):
    """The whole way with a network of test size."""
    save_starter(tmp_path / "starter.safetensors", starter)
    monkeypatch.setattr(e3dge_build, "encoder_config", lambda starter, _: small_sizes(starter))

    def build(*, first=None, resume=False):
        return build_e3dge(
            tmp_path / "work", tmp_path / "out.safetensors", starter_file=tmp_path / "starter.safetensors",
            first_file=first, preset=preset(), device=torch.device("cpu"), resume=resume, log=lambda _: None,
        )  # fmt: skip

    return build


def test_the_whole_way_writes_an_encoder_for_its_starter(way, starter, tmp_path):
    scores = way()
    assert {"surface_mm", "depth_mm", "average_depth_mm", "novel", "novel_before"} <= set(scores)
    encoder, generator = load_e3dge(tmp_path / "out.safetensors")
    assert generator == starter.identity["id"] and encoder.config == small_sizes(starter)
    with pytest.raises(SettingsError):
        way()
    assert way(resume=True) == scores


def test_a_first_encoder_of_other_sizes_is_refused(way, tmp_path):
    other = EncoderConfig(5, 4, 3, 4, 4, size_px=32, channels=(16,), blocks=(0,), hidden=32)
    save_encoder(tmp_path / "first.safetensors", StarterEncoder(other), generator_id="small-1")
    with pytest.raises(SettingsError, match="other sizes"):
        way(first=tmp_path / "first.safetensors")
