# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest
import torch

from backend.errors import ModelError, SettingsError
from backend.training.critic import CriticConfig
from backend.training.patches import PatchConfig
from backend.training.phases import NAMES, Lessons, Phases, train
from backend.training.run import CHECKPOINT, LOG
from backend.training.starter import TrainingConfig
from tests.small_dataset import plain_heads, small_canonical
from tests.small_pictures import PLAN, small_pictures
from tests.small_starter import small_generator

SHORT = TrainingConfig(steps=3, heads_per_step=2, points_per_head=48, warmup_steps=2, log_steps=1, sheets=1)
PHASES = Phases(
    points=SHORT,
    patches=SHORT,
    adversarial=SHORT,
    pictures=PLAN,
    patch=PatchConfig(heads_per_step=1, patch_px=8, samples=5),
    critic=CriticConfig(channels=(6, 6), penalty_steps=2),
)


@pytest.fixture(scope="module")
def lessons():
    return Lessons(plain_heads(5), small_canonical(), small_pictures)


def trained(folder, lessons, phases=PHASES, *, resume=False, **options):
    generator = small_generator(bald=False)
    said = []
    is_over = train(generator, lessons, phases, folder, resume=resume, log=said.append, **options)
    return generator, is_over, said


def folder_of(folder, name):
    return next(path.parent for path in folder.rglob(CHECKPOINT) if path.parent.name.startswith(name))


def log_of(folder, name):
    return [json.loads(line) for line in (folder_of(folder, name) / LOG).read_text().splitlines()]


def same(one, other):
    expected = other.state_dict()
    return all(torch.equal(value, expected[name]) for name, value in one.state_dict().items())


def test_every_phase_adds_its_losses(lessons, tmp_path):
    _, is_over, said = trained(tmp_path / "points", lessons)
    assert is_over and [line.split(":")[0] for line in said] == list(NAMES)
    losses = [{"color", "outer"}, {"pixel", "edge", "coarse"}, {"fool", "critic"}]
    for number, name in enumerate(NAMES):
        lines = log_of(tmp_path, name)
        assert [line["step"] for line in lines] == [1, 2, 3]
        assert set(lines[-1]) == {"step", "time", "rate"}.union(*losses[: number + 1])


def test_in_pieces_of_one_step_every_phase_ends_bit_for_bit_as_unbroken(lessons, tmp_path):
    whole, _, _ = trained(tmp_path / "whole" / "points", lessons)
    for number in range(9):
        torch.rand(3)  # Training has its own source of chance.
        piece, is_over, _ = trained(tmp_path / "pieces" / "points", lessons, resume=True, until=number + 1)
        assert is_over == (number == 8)
    assert same(piece, whole)
    for name in NAMES:
        states = [
            torch.load(folder_of(tmp_path / way, name) / CHECKPOINT, weights_only=True) for way in ("whole", "pieces")
        ]
        for part in ("generator", "average"):
            assert all(torch.equal(value, states[1][part][key]) for key, value in states[0][part].items())
    critics = [state["critic"]["network"] for state in states]
    assert all(torch.equal(value, critics[1][key]) for key, value in critics[0].items())


def test_time_that_is_over_ends_a_phase_after_a_step(lessons, tmp_path):
    generator, is_over, said = trained(tmp_path / "points", lessons, seconds=0)
    assert not is_over and len(said) == 1 and log_of(tmp_path, "points")[-1]["step"] == 1
    state = torch.load(tmp_path / "points" / CHECKPOINT, weights_only=True)
    assert all(torch.equal(value, state["average"][name]) for name, value in generator.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_no_number_stops_any_phase_with_its_last_checkpoint(lessons, tmp_path, monkeypatch, name):
    before = 3 * NAMES.index(name) + 2
    trained(tmp_path / "points", lessons, until=before)
    kept = (folder_of(tmp_path, name) / CHECKPOINT).read_bytes()
    head = lessons.heads[0]
    broken = [replace(head, z=head.z * float("nan"))] * len(lessons.heads)
    with pytest.raises(ModelError, match="diverged at step 2") as caught:
        trained(tmp_path / "points", replace(lessons, heads=broken), resume=True)
    assert caught.value.code == "training_diverged"
    assert (folder_of(tmp_path, name) / CHECKPOINT).read_bytes() == kept
    whole, _, _ = trained(tmp_path / "whole" / "points", lessons)
    mended, _, _ = trained(tmp_path / "points", lessons, resume=True)
    assert same(mended, whole)


def test_a_phase_begins_with_the_average_of_the_one_before(lessons, tmp_path):
    after_points, _, _ = trained(tmp_path / "points", lessons, until=3)
    # A rate of nothing leaves the weights as they were found.
    idle = replace(PHASES, patches=replace(SHORT, learning_rate=0.0))
    after_patches, _, _ = trained(tmp_path / "points", lessons, idle, resume=True, until=6)
    assert same(after_patches, after_points)


def test_a_phase_without_steps_is_left_out_and_needs_no_pictures(lessons, tmp_path):
    def refuse():
        raise AssertionError("pictures")

    points_alone = PHASES.with_steps([2, 0, 0])
    _, is_over, said = trained(tmp_path / "points", replace(lessons, pictures=refuse), points_alone)
    assert is_over and len(said) == 1
    with pytest.raises(AssertionError, match="pictures"):
        trained(tmp_path / "points", replace(lessons, pictures=refuse), resume=True)


def test_more_of_a_phase_begins_those_after_it_anew(lessons, tmp_path):
    trained(tmp_path / "points", lessons, PHASES.with_steps([3, 3, 0]))
    _, _, said = trained(tmp_path / "points", lessons, PHASES.with_steps([4, 5, 0]), resume=True)
    assert said[0].startswith("points: from step 3 to 4") and said[1].startswith("patches: from step 0 to 5")


def test_a_run_that_was_begun_is_not_overwritten_unasked(lessons, tmp_path):
    trained(tmp_path / "points", lessons, until=1)
    with pytest.raises(SettingsError, match="--resume"):
        trained(tmp_path / "points", lessons)


def test_sheets_are_shown_so_many_times_in_every_phase(lessons, tmp_path):
    phases = replace(PHASES, points=replace(SHORT, steps=6, sheets=3))
    shown = []
    trained(tmp_path / "points", lessons, phases, show=lambda trainer: shown.append(trainer.step))
    assert shown == [2, 4, 6, 3, 3]


def test_steps_are_set_phase_by_phase():
    assert PHASES.steps == 9
    changed = PHASES.with_steps([7, 8])
    assert [getattr(changed, name).steps for name in NAMES] == [7, 8, 3]
    for wrong in ([1, 2, 3, 4], [3, -1]):
        with pytest.raises(SettingsError, match="3 phases"):
            PHASES.with_steps(wrong)
