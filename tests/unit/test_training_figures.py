# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import torch
from PIL import Image

from backend.training.appearance import sample_appearance
from backend.training.dataset import Painter
from backend.training.dressing import BALD, UNCUT_M, Dressing
from backend.training.figures import CURVES, SMOOTH_LINES, _smooth, draw_curves, show_progress
from backend.training.starter import Trainer, TrainingConfig
from tests.small_dataset import small_canonical
from tests.small_starter import small_generator

pytest.importorskip("matplotlib", reason="figures need matplotlib from requirements-train.txt")


def test_smoothing_keeps_a_line_and_averages_noise():
    assert _smooth([2.0] * 50) == [2.0] * 50
    noisy = [float(number % 2) for number in range(100)]
    assert abs(_smooth(noisy)[-1] - 0.5) < 1 / SMOOTH_LINES


def test_curves_are_a_picture(tmp_path):
    lines = [{"step": 25 * number, "color": 1 / number, "outer": 2 / number} for number in range(1, 40)]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 5
    assert [path.name for path in tmp_path.glob("*.p*")] == ["curves.png"]


def test_curves_of_all_phases_can_be_drawn(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, **dict.fromkeys([*CURVES, "fool"], 0.5)}))
    draw_curves(tmp_path / "log.jsonl", tmp_path / "all.png")
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "color": 0.5, "outer": 0.5}))
    draw_curves(tmp_path / "log.jsonl", tmp_path / "two.png")
    with Image.open(tmp_path / "all.png") as every, Image.open(tmp_path / "two.png") as two:
        assert not np.array_equal(np.asarray(every), np.asarray(two))


def test_a_sheet_shows_the_average_and_leaves_the_run_alone(tmp_path):
    canonical = small_canonical()
    appearance = sample_appearance(np.random.default_rng(0), 0.9, 0.5, ancestry=np.full(3, 1 / 3))
    dressing = Dressing(BALD, 0.0, 0.09, UNCUT_M, 0)
    head = Painter(canonical).paint(appearance, dressing, np.random.default_rng(0))
    generator = small_generator(z_dim=len(head.z))
    config = TrainingConfig(steps=2, heads_per_step=1, points_per_head=64)
    trainer = Trainer(generator, [head], canonical, config=config, folder=tmp_path)
    trainer.run()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    show_progress(trainer, [head], canonical, size_px=24)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    with Image.open(tmp_path / "sheet-000002.png") as sheet:
        assert sheet.size == (24 * 8, 24)
    assert "full_0" in json.loads((tmp_path / "sheet-000002.json").read_text())
