# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from backend import estimate
from backend.config import Settings
from backend.estimate import REFINE, STAGES_S, Knowledge, expected_s, know_machine, learnt, read_knowledge, times_path
from backend.inversion.budget import budget_for
from backend.pace import Pace

NEW = Knowledge("cpu", "a machine", Pace(1.0, 1.0), {})


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    monkeypatch.delenv("PROTOME_TIMES", raising=False)
    measured = []
    monkeypatch.setattr(estimate, "measure_pace", lambda device: measured.append(device) or Pace(2.0, 0.5))
    return measured


def timings(known, settings, factor=1.0, **others):
    """What a run would report that takes ``factor`` times the work."""
    stages = (*STAGES_S, REFINE)
    return {stage: factor * estimate._work_s(known.pace, stage, settings, known.device, 1) for stage in stages} | others


def test_without_a_run_the_time_is_work_times_pace():
    whole = expected_s(NEW, Settings())
    assert whole == pytest.approx(sum(STAGES_S.values()) + estimate.REFINE_S["balanced"])
    slow = replace(NEW, pace=Pace(3.0, 1.0))
    assert expected_s(slow, Settings()) == pytest.approx(whole + 2 * estimate.REFINE_S["balanced"])


def test_better_quality_larger_texture_and_more_photos_take_longer():
    draft, balanced, best = (expected_s(NEW, Settings(quality=quality)) for quality in ("draft", "balanced", "best"))
    assert draft < balanced < best
    assert expected_s(NEW, Settings(texture_px=4096)) > balanced > expected_s(NEW, Settings(texture_px=1024))
    assert expected_s(NEW, Settings(), photos=3) > 2 * balanced


def test_a_further_photo_costs_what_its_stages_cost_and_a_draft_little():
    one, two, three = (expected_s(NEW, Settings(quality="draft"), photos=photos) for photos in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert 0 < two - one < 0.5 * one
    only_once = {"model", "surface", "unwrap", "sliders", "write"}
    for stage in STAGES_S:
        alone, together = (estimate._work_s(NEW.pace, stage, Settings(), "cpu", photos) for photos in (1, 3))
        assert (together == alone) == (stage in only_once)


def test_after_a_run_the_same_run_is_expected_to_take_as_long():
    settings = Settings(quality="draft")
    spent = timings(NEW, settings, 1.7, refine=100.0)
    known = learnt(NEW, settings, spent)
    assert expected_s(known, settings) == pytest.approx(sum(spent.values()), rel=1e-3)


def test_a_run_teaches_about_other_qualities_of_its_model():
    settings = Settings(quality="draft")
    known = learnt(NEW, settings, timings(NEW, settings, 2.0))
    best = Settings(quality="best")
    assert expected_s(known, best) == pytest.approx(2 * expected_s(NEW, best), rel=1e-3)


def test_runs_are_averaged_and_the_newest_counts_half():
    settings = Settings()
    known = learnt(learnt(NEW, settings, timings(NEW, settings, 1.0)), settings, timings(NEW, settings, 4.0))
    assert expected_s(known, settings) == pytest.approx(2 * expected_s(NEW, settings), rel=1e-3)


def test_a_cancelled_run_teaches_nothing():
    spent = timings(NEW, Settings())
    del spent["texture"]
    assert learnt(NEW, Settings(), spent) == NEW


def test_a_broken_clock_does_not_spoil_what_is_known():
    known = learnt(NEW, Settings(), timings(NEW, Settings(), 1.0, refine=0.0, surface=1e9))
    assert 0 < expected_s(known, Settings()) < 1e4


def test_another_generator_is_unknown_until_it_ran_and_then_known_for_all_its_methods():
    spi = Settings(model="eg3d", method="spi")
    assert expected_s(NEW, spi) is None
    known = learnt(NEW, spi, timings(NEW, spi, 1.0, refine=300.0))
    w = replace(spi, method="w")
    work = estimate._refine_s(w, "cpu") / estimate._refine_s(spi, "cpu")
    others_s = sum(STAGES_S.values())
    assert expected_s(known, w) - others_s == pytest.approx(300.0 * work, rel=1e-3)
    assert expected_s(known, Settings(model="panohead")) is None


def test_pti_pays_for_its_tuning():
    budget = budget_for("pti", "balanced", "cpu")
    saved = estimate._refine_s(Settings(model="eg3d", method="pti"), "cpu") - estimate._refine_s(
        Settings(model="eg3d", method="w+"), "cpu"
    )
    assert saved == pytest.approx(estimate.STEP_S * estimate.STEP_COSTS["pti"][1] * budget.tune_steps)


def test_the_machine_is_measured_once_and_kept(home):
    first = know_machine("cpu", 2)
    assert first.pace == Pace(2.0, 0.5) and know_machine("cpu", 2) == first
    assert home == ["cpu"]
    estimate.keep(learnt(first, Settings(), timings(first, Settings(), 3.0)))
    assert expected_s(know_machine("cpu", 2), Settings()) == pytest.approx(3 * expected_s(first, Settings()), rel=1e-3)


def test_other_threads_are_measured_anew_and_what_was_learnt_stays(home):
    first = know_machine("cpu", 2)
    estimate.keep(replace(first, ratios={"starter|surface": 2.0}))
    assert know_machine("cpu", 4).ratios == {"starter|surface": 2.0}
    assert home == ["cpu", "cpu"]


def test_devices_are_known_side_by_side(home):
    know_machine("cpu", 2)
    know_machine("cuda", 2)
    know_machine("cpu", 2)
    assert home == ["cpu", "cuda"]


def test_the_file_has_the_times_to_show():
    known = know_machine("cpu", 2)
    content = json.loads(times_path().read_text())
    shown = content["devices"][content["last"]]["expected_s"]
    assert shown["starter|protome|best"] == pytest.approx(expected_s(known, Settings(quality="best")), abs=0.06)
    further = content["devices"][content["last"]]["further_photo_s"]
    three = expected_s(known, Settings(quality="best"), photos=3)
    assert shown["starter|protome|best"] + 2 * further["starter|protome|best"] == pytest.approx(three, abs=0.2)


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"version": 2}', b'{"version": 1, "devices": []}',
        b'{"version": 1, "devices": {"cpu": 3}}', b'{"version": 1, "devices": {"cpu": {"machine": "x"}}}', b"[" * 99999,
    ],
)  # fmt: skip
def test_a_damaged_file_is_made_anew(home, damage):
    times_path().write_bytes(damage)
    assert know_machine("cpu", 2).pace == Pace(2.0, 0.5)
    assert know_machine("cpu", 2) and home == ["cpu"]


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "2", None, True, [1]])
def test_a_number_that_is_no_duration_is_damage(home, value):
    estimate.keep(replace(NEW, machine=estimate.machine_name(2)))
    content = json.loads(times_path().read_text())
    content["devices"]["cpu"]["pace"]["other"] = value
    times_path().write_text(json.dumps(content))
    assert read_knowledge(times_path(), "cpu") is None
    assert know_machine("cpu", 2).pace == Pace(2.0, 0.5)


def test_the_add_on_says_where_the_file_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_TIMES", str(tmp_path / "extension" / "times.json"))
    know_machine("cpu", 2)
    assert (tmp_path / "extension" / "times.json").exists() and not (tmp_path / "times.json").exists()


def test_a_place_that_takes_no_file_costs_only_the_knowledge(tmp_path, monkeypatch, home):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "file"))
    assert know_machine("cpu", 2).pace == know_machine("cpu", 2).pace == Pace(2.0, 0.5)
    assert home == ["cpu", "cpu"]


def test_a_forecast_says_where_and_a_finished_run_corrects_it(monkeypatch):
    monkeypatch.setattr(estimate.torch, "get_num_threads", lambda: 3)
    settings = Settings(device="cpu")
    first = estimate.forecast(settings, 1)
    assert first.place == "3 CPU threads" and first.seconds == expected_s(know_machine("cpu", 3), settings)
    estimate.learn(settings, timings(know_machine("cpu", 3), settings, 2.0), 1)
    assert estimate.forecast(settings, 1).seconds == pytest.approx(2 * first.seconds, rel=1e-3)
    assert estimate.forecast(Settings(device="cpu", model="eg3d"), 1).seconds is None
