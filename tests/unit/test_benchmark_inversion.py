# SPDX-License-Identifier: Apache-2.0
"""The comparison from end to end on an egg for a starter and a ball for a person, and at the command line."""

import json
import sys

import numpy as np
import pytest
import torch

from backend.alignment import Portrait
from backend.camera import look_at_camera, project, rays
from backend.errors import PhotoError
from backend.evaluation import inversion_bench, inversion_scores
from backend.evaluation.cost import Cost
from backend.evaluation.inversion_bench import InversionBench, invert_head, invert_photo, real_photo_jobs
from backend.evaluation.inversion_items import Entry
from backend.evaluation.inversion_page import SHOWN
from backend.evaluation.inversion_report import gather, report
from backend.evaluation.inversion_scores import KnownPerson, KnownPhoto, likeness_scores
from backend.evaluation.prepared import Prepared, as_photo
from backend.evaluation.registration import Similarity
from backend.evaluation.run import run_jobs
from backend.inversion import invert
from backend.inversion.refine import RefineConfig
from backend.portrait_model.contract import Fit, PersonPhoto
from backend.portrait_model.starter import StarterModel
from benchmarks import inversion
from tests.ball_person import ball_truth
from tests.small_starter import AXES, egg_distance, front_points, small_starter

CAMERA = look_at_camera(yaw_deg=20, pitch_deg=0, distance=1.2, focal=3.6)
PX = 128
DRAFT = Entry("protome", "draft")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Few steps, small pictures, and no face to be found on an egg."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(invert.REFINEMENT, "balanced", RefineConfig(code_steps=2, offset_steps=2, detail_steps=2))
        patch.setattr(inversion_scores, "describe", lambda pixels: None)
        patch.setattr(invert, "REFINE_RAYS_PX", 40)
        patch.setattr(inversion_bench, "NODES", 49)
        for size in ("VIEW_PX", "SCORED_PX", "PORTRAIT_SCORED_PX"):
            patch.setattr(inversion_scores, size, 64)
        yield


@pytest.fixture(scope="module")
def bench():
    def nobody():
        raise AssertionError("nobody asks for held-out people here")

    return InversionBench(StarterModel(small_starter()), 0, nobody)


@pytest.fixture(scope="module")
def photo():
    """The egg in one colour, and its matte."""
    origin, directions = rays(CAMERA, PX)
    along = np.arange(1.05, 1.35, 0.01)
    distance = np.stack([egg_distance(origin + step * directions) for step in along]).min(0)
    mask = torch.from_numpy((distance < 0).astype(np.float32))[None, None]
    image = torch.tensor([0.6, 0.1, -0.4])[None, :, None, None].expand(1, 3, PX, PX).contiguous()
    landmarks = project(CAMERA, front_points(478))[0] * PX
    landmarks[inversion_scores.CHIN] = project(CAMERA, np.array([[0.0, -0.8 * AXES[1], 0.0]]))[0][0] * PX
    portrait = Portrait(image, np.eye(3), landmarks, np.zeros(478), torch.ones_like(mask))
    return PersonPhoto(as_photo(np.zeros((8, 8, 3), np.uint8), "egg"), portrait, mask)


@pytest.fixture(scope="module")
def prepared(bench, photo):
    codes = bench.model.fit([photo]).codes
    return Prepared([photo], Fit([CAMERA], codes, {}), Cost(1.0, 2.0, None))


@pytest.fixture(scope="module")
def measured(bench, prepared):
    known = KnownPhoto(KnownPerson(ball_truth()), ball_truth())
    return invert_head(bench, Entry("protome", "balanced"), prepared, known)


def test_a_held_out_head_gets_every_score_that_is_shown(measured):
    assert set(SHOWN) <= set(measured.scores)
    without_faces = {"identity_excess_60"}
    assert [name for name in SHOWN if measured.scores[name] is None] == sorted(without_faces)
    assert measured.scores["seconds_prepare"] == 1.0
    assert [len(row) for row in measured.pictures] == [7, 7]


def test_the_brought_head_is_about_as_large_as_the_truth(measured):
    """An egg and a ball of nearly one size: wrong by centimetres, not by heads."""
    assert measured.scores["chamfer_mm"] < 30
    assert measured.scores["depth_mm_+0"] < 15


def test_unseen_views_are_those_that_no_photo_shows():
    alone = KnownPhoto(KnownPerson(ball_truth()), ball_truth())
    assert alone.unseen == [-30, 30, -60, 60]
    assert KnownPhoto(alone.person, alone.truth, (30.0, -30.0)).unseen == [-60, 60]


def test_a_real_photo_is_held_against_itself(bench, prepared):
    found = invert_photo(bench, DRAFT, prepared)
    assert {"mse_input", "ssim_input", "ms_ssim_input", "identity_60", "seconds_cpu"} <= set(found.scores)
    assert "mse_60" not in found.scores


def test_more_steps_show_the_photo_better(bench, prepared, monkeypatch):
    def error(steps):
        monkeypatch.setitem(
            invert.REFINEMENT, "balanced", RefineConfig(code_steps=steps, offset_steps=steps, detail_steps=2)
        )
        return invert_photo(bench, Entry("protome", "balanced"), prepared).scores["mse_input"]

    assert error(15) < 0.8 * error(0)


def test_likeness_is_perfect_for_the_same_picture_and_unknown_without_a_region():
    pixels = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    head = np.zeros((64, 64), bool)
    assert likeness_scores(pixels, pixels, head, "x") == {"mse_x": None, "ssim_x": None, "ms_ssim_x": None}
    head[10:50, 10:50] = True
    assert likeness_scores(pixels, pixels, head, "x") == pytest.approx({"mse_x": 0, "ssim_x": 1, "ms_ssim_x": 1})


def test_the_template_is_brought_to_the_truth_once_for_all_methods(bench, prepared, monkeypatch):
    asked = []

    def place(*_):
        asked.append(1)
        return Similarity(1.0, np.eye(3), np.zeros(3))

    monkeypatch.setattr("backend.evaluation.inversion_bench.template_similarity", place)
    fresh = InversionBench(bench.model, 0, bench.source)
    codes = prepared.fit.codes[0]
    fresh.to_truth(ball_truth(), codes)
    fresh.to_truth(ball_truth(), codes)
    assert len(asked) == 1


def folder_of_two(bench, out, prepared, monkeypatch, entries, *, first=b"a photo"):
    """Two photos, of which the second shows no face."""
    photos = [out / "a.png", out / "b.png"]
    for photo, content in zip(photos, (first, b"a meadow"), strict=True):
        photo.write_bytes(content)
    done = []

    def fake(_, files):
        done.append(files[0])
        if files[0] == photos[1]:
            raise PhotoError("There is no face.", code="no_face")
        return prepared

    monkeypatch.setattr("backend.evaluation.inversion_bench.read_photo", lambda path: path)
    monkeypatch.setattr("backend.evaluation.inversion_bench.prepare", fake)
    monkeypatch.setattr(InversionBench, "invert", lambda *_: (prepared.fit.codes[0], prepared.cost))
    run_jobs(real_photo_jobs(bench, photos, entries), out, lambda _: None)
    return done


def test_a_broken_off_run_goes_on_and_a_second_one_adds_to_it(bench, prepared, monkeypatch, tmp_path):
    assert len(folder_of_two(bench, tmp_path, prepared, monkeypatch, [DRAFT])) == 2
    more = folder_of_two(bench, tmp_path, prepared, monkeypatch, [DRAFT, Entry("protome", "balanced")])
    assert len(more) == 2  # The new entry alone.
    outcomes = gather(tmp_path, bench)
    assert [(one.item, one.entry.quality, bool(one.result.failure)) for one in outcomes] == [
        ("a", "draft", False), ("b", "draft", True), ("a", "balanced", False), ("b", "balanced", True),
    ]  # fmt: skip
    report(tmp_path, bench, quality="draft", machine="a test", command="")
    tables = (tmp_path / "tables.md").read_text()
    assert "Failures: 2 of 4" in tables
    assert "There is no face." in tables
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["a.png"]


def test_a_picture_that_has_changed_is_done_again(bench, prepared, monkeypatch, tmp_path):
    folder_of_two(bench, tmp_path, prepared, monkeypatch, [DRAFT])
    assert folder_of_two(bench, tmp_path, prepared, monkeypatch, [DRAFT]) == []
    assert folder_of_two(bench, tmp_path, prepared, monkeypatch, [DRAFT], first=b"another") == [tmp_path / "a.png"]


def test_results_of_other_weights_are_left_out(bench, prepared, monkeypatch, tmp_path):
    folder_of_two(bench, tmp_path, prepared, monkeypatch, [DRAFT])
    path = tmp_path / "items" / "photo-a-protome-draft.json"
    content = json.loads(path.read_text())
    content["fingerprint"]["weights"] = "others"
    path.write_text(json.dumps(content))
    assert [one.item for one in gather(tmp_path, bench)] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to do"),
        (["--methods", "spy"], "is no entry"),
        (["--photos", "missing"], "is no folder"),
        (["--assets", "missing", "--heads", "99"], "must lie between 0 and 12, not 99"),
    ],
)
def test_wrong_options_are_said_in_one_line(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["inversion.py", "--out", str(tmp_path / "out"), *arguments])
    assert inversion.main() == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
