# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import SettingsError
from backend.starter import load_starter
from backend.training import build
from backend.training.build import CPU, GPU, IDENTITY, TINY, _candidates, build_starter
from backend.training.dataset import BALD
from backend.training.heads import HeadShapes, Identity
from backend.training.phases import NAMES
from backend.training.prepare import FACE_HIGH, FACE_LOW, Prepared
from tests.small_dataset import cube_lattice, plain_heads, small_canonical
from tests.small_people import face_template, people
from tests.small_starter import egg_distance, lattice


class AnyShapes(HeadShapes):
    """People without a shape."""

    def __init__(self):
        pass

    def sample(self, rng):
        nothing = np.zeros(1)
        return Identity(rng.random(), rng.uniform(0.4, 1), rng.dirichlet(np.ones(3)), 0.5, 0.5, *[nothing] * 3)


@pytest.fixture
def stand_ins(monkeypatch):
    """An egg in place of all that is made from the assets before a network is; everything after it is real."""
    prepared = Prepared.__new__(Prepared)
    given = {
        "template": face_template(),
        "canonical": small_canonical(),
        "body_lattice": cube_lattice(egg_distance, 49),
        "face_lattice": lattice(FACE_LOW, FACE_HIGH, (25, 24, 24)).numpy(),
    }
    for name, value in given.items():
        object.__setattr__(prepared, name, value)
    monkeypatch.setattr(build, "load_heads", lambda assets: AnyShapes())
    monkeypatch.setattr(build, "prepare", lambda *_, **__: prepared)
    monkeypatch.setattr(build, "calibrated_template", lambda *_, **__: prepared.template)
    monkeypatch.setattr(build, "_population", lambda *_: people())


@pytest.fixture
def no_pictures(monkeypatch):
    """Nothing is shown nor measured in pictures, which takes longest."""
    monkeypatch.setattr(build, "show_progress", lambda *_, **__: None)
    monkeypatch.setattr(build, "measure_pictures", lambda *_, **__: ({}, None))


def built(folder, *, preset=TINY, **options):
    said, out = [], folder / "starter.safetensors"
    scores = build_starter(
        folder, folder / "work", out, preset=preset, device=torch.device("cpu"), workers=1, log=said.append, **options
    )
    return scores, out, said


def test_the_tiny_preset_trains_from_heads_to_the_models_file(stand_ins, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(build, "show_progress", lambda trainer, *_, **__: shown.append(trainer.folder))
    scores, out, said = built(tmp_path)
    assert np.isfinite(list(scores.values())).all() and {"psnr_db", "outer_mm", "inside_0", "inside_180"} <= set(scores)
    assert [name for name in NAMES if any(line.startswith(f"{name}: from step 0") for line in said)] == list(NAMES)
    starter = load_starter(out)
    assert starter.identity["id"] == IDENTITY["id"] and len(starter.directions) > 50
    field = starter.generator.field(starter.generator.map(starter.candidates[:1]))
    assert field.density(torch.zeros((1, 3))) > field.level > field.density(torch.tensor([[0.0, 0.0, 0.2]]))
    assert [folder.name.split("-")[0] for folder in shown] == ["run", "patches", "adversarial"]


def test_an_interrupted_tiny_run_ends_with_the_same_file(stand_ins, no_pictures, tmp_path):
    preset = replace(TINY, training=TINY.training.with_steps([2, 1, 2]))
    scores, out, _ = built(tmp_path / "whole", preset=preset)
    # Without any time a phase still makes one step: first A's, then A's last, B's and C's first, then C's last.
    for number in range(3):
        found, piece, said = built(tmp_path / "pieces", preset=preset, resume=True, seconds=0)
        is_over = number == 2
        assert ((found is not None), piece.exists(), said[-1].startswith("wrote")) == (is_over, is_over, is_over)
    assert found == scores
    assert piece.read_bytes() == out.read_bytes()
    with pytest.raises(SettingsError, match="--resume"):
        built(tmp_path / "pieces", preset=preset)


def test_a_model_can_be_made_of_any_step(stand_ins, no_pictures, tmp_path):
    built(tmp_path, until=2)
    early = (tmp_path / "starter.safetensors").read_bytes()
    _, _, said = built(tmp_path, resume=True, until=0)
    assert (tmp_path / "starter.safetensors").read_bytes() == early
    assert any(line.startswith("points: from step 2") for line in said)


def test_presets_say_how_long_each_phase_is():
    assert all(getattr(TINY.training, name).steps > 1 for name in NAMES)
    assert all(getattr(GPU.training, name).steps > 1 for name in NAMES)
    assert CPU.training.steps == CPU.training.points.steps > 1
    for preset in (CPU, GPU, TINY):
        assert preset.training.pictures.heads <= preset.heads
        assert preset.training.patch.patch_px <= preset.training.pictures.size_px


def test_candidates_are_an_ordinary_head_and_some_of_every_style():
    heads = plain_heads(40)
    candidates = _candidates(heads, per_style=2)
    descriptions = np.stack([head.z for head in heads])
    np.testing.assert_allclose(candidates[0], np.median(descriptions, axis=0), rtol=1e-6)
    styles = [
        next(head.dressing.style for head in heads if np.array_equal(head.z, candidate)) for candidate in candidates[1:]
    ]
    assert styles == sorted(styles) and max(np.bincount(styles)) <= 2
    assert set(styles) == {head.dressing.style for head in heads} and BALD in styles


def test_a_style_nobody_wears_is_left_out():
    heads = [replace(head, dressing=replace(head.dressing, style=2)) for head in plain_heads(9)]
    assert len(_candidates(heads, per_style=4)) == 5


def test_the_models_licence_is_said():
    assert IDENTITY["licence"] == "CC0-1.0" and IDENTITY["commercial_use"] == "yes"
    assert CPU.held_out > 0 and CPU.population <= CPU.heads
