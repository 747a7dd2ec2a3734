# SPDX-License-Identifier: Apache-2.0
"""From portraits of eggs, drawn beforehand, to the encoder's file."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import SettingsError
from backend.landmark_errors import independent
from backend.starter import save_starter
from backend.starter_encoder import load_encoder
from backend.training import encoder_build as module
from backend.training import encoder_supply
from backend.training.encoder_build import TINY, build_encoder, portraits_name, run_name
from backend.training.portrait_source import PortraitSource
from backend.training.portraits import PortraitStudio
from tests.small_examples import PLAN, write_small_shards
from tests.small_starter import IDENTITY, small_starter

PRESET = replace(
    TINY, people=PLAN.people, views=PLAN.views, size_px=32,
    training=replace(TINY.training, steps=2, portraits_per_step=2, fields_per_step=1, measure_portraits=2),
)  # fmt: skip


@pytest.fixture(scope="module")
def starter():
    return small_starter()


def source_of(template):
    source, studio = PortraitSource.__new__(PortraitSource), PortraitStudio.__new__(PortraitStudio)
    studio.template = template
    object.__setattr__(source, "studio", studio)
    return source


@pytest.fixture
def eggs(starter, monkeypatch):
    """Portraits of eggs in place of all that is rendered."""
    given = {"PORTRAIT_PX": PLAN.size_px, "PORTRAIT_SEED": PLAN.seed, "GLASSES_SHARE": PLAN.glasses_share,
             "PEOPLE_PER_SHARD": PLAN.people_per_shard}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setattr(module, name, value)
    source = source_of(starter.template)
    monkeypatch.setattr(module, "open_source", lambda *_, **__: source)
    monkeypatch.setattr(module, "rendering", lambda *_: nullcontext(lambda: False))
    monkeypatch.setattr(encoder_supply, "STATISTICS_PORTRAITS", 8)
    return source


def built(folder, starter, source, **options):
    save_starter(folder / "starter.safetensors", starter)
    portraits = folder / portraits_name(source)
    if not portraits.exists():
        portraits.mkdir()
        write_small_shards(portraits, starter)
    given = {"preset": PRESET, "device": torch.device("cpu"), "workers": (1, 0), "resume": False, "log": lambda _: None}
    starter_file, out = folder / "starter.safetensors", folder / "encoder.safetensors"
    return build_encoder(folder, folder, out, starter_file=starter_file, **(given | options))


def test_an_encoder_is_made_once_for_each_starter(starter, eggs, tmp_path):
    scores = built(tmp_path, starter, eggs)
    assert np.isfinite(list(scores.values())).all() and "shape_of_average" in scores
    assert load_encoder(tmp_path / "encoder.safetensors")[1] == IDENTITY["id"]
    with pytest.raises(SettingsError, match="--resume"):
        built(tmp_path, starter, eggs)
    assert built(tmp_path, starter, eggs, resume=True) == scores
    # Nothing of what was begun for another starter is taken up.
    built(tmp_path, replace(starter, candidates=starter.candidates + 0.1), eggs)
    assert len([path for path in tmp_path.glob("encoder-32px-*") if (path / "checkpoint.pt").exists()]) == 2


def test_a_run_is_named_by_the_starter_and_its_portraits(starter):
    name = run_name(starter, "portraits-1", 64)
    changed = small_starter()
    with torch.no_grad():
        next(changed.generator.parameters()).add_(0.001)
    template = starter.template
    others = [
        run_name(changed, "portraits-1", 64), run_name(starter, "portraits-2", 64),
        run_name(starter, "portraits-1", 32),
        run_name(replace(starter, template=replace(template, shape=1.001 * template.shape)), "portraits-1", 64),
    ]  # fmt: skip
    assert len({name, *others}) == 5 and name.startswith("encoder-64px-")
    # Errors of landmarks are learnt from its portraits; they make no other starter of it.
    measured = replace(template, landmark_errors=independent(np.full(468, 0.001)))
    assert run_name(replace(starter, template=measured), "portraits-1", 64) == name


def test_portraits_are_named_by_the_template_and_the_code_that_draws_them(starter, tmp_path, monkeypatch):
    template = starter.template
    name = portraits_name(source_of(template))
    assert portraits_name(source_of(replace(template))) == name
    assert portraits_name(source_of(replace(template, landmark_weights=template.landmark_weights[::-1]))) != name
    monkeypatch.setattr(module, "PORTRAIT_SOURCES", ())
    assert portraits_name(source_of(template)) != name


def test_rendering_needs_a_process(starter, eggs, tmp_path):
    with pytest.raises(SettingsError, match="at least 1 process"):
        built(tmp_path, starter, eggs, workers=(0, 0))
