# SPDX-License-Identifier: Apache-2.0
import builtins
import json
from types import SimpleNamespace

import pytest
import torch

from backend import jobs
from backend.config import Settings
from backend.errors import ModelError, OutputError, PhotoError, SettingsError
from backend.export import write_mesh
from backend.head import Slider
from backend.jobs import INTERNAL, Failure, attempt, check_slider_values, invert_photo, output_folders, settings_from
from backend.protocol import Invert, Ping, Resynthesize
from tests import fake_pipeline


def raising(error):
    def job():
        raise error

    return job


def test_settings_left_out_take_their_defaults():
    assert settings_from({}) == Settings()
    assert settings_from({"seed": 3, "face": 1, "texture_px": 4096}) == Settings(seed=3, face=1, texture_px=4096)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("faces", 999),
        ("faces", 200_001),
        ("faces", 30_000.0),
        ("faces", True),
        ("texture_px", 2047),
        ("texture_px", [2048]),
        ("quality", "Best"),
        ("device", None),
        ("seed", -1),
        ("face", -1),
        ("model", ""),
        ("model", 3),
        ("speed", 1),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=name):
        settings_from({name: value})


def test_sliders_stay_in_their_safe_range():
    sliders = [Slider("Smile", "Expression", -0.5, 1.0)]
    check_slider_values({"Smile": -0.5}, sliders)
    check_slider_values({"Smile": 1.0}, sliders)
    for values in ({"Smile": 1.01}, {"Smile": float("nan")}, {"Nose": 0.0}):
        with pytest.raises(SettingsError):
            check_slider_values(values, sliders)


def test_attempt_tells_what_users_cause_from_our_mistakes(capsys):
    assert attempt(lambda: {"a": 1}) == {"a": 1}
    assert attempt(raising(PhotoError("No face.", code="no_face"))) == Failure("no_face", "No face.")
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        outcome = attempt(raising(error))
        assert isinstance(outcome, Failure) and outcome.code == "memory"
    capsys.readouterr()
    outcome = attempt(raising(KeyError("ws")))
    assert isinstance(outcome, Failure) and outcome.code == INTERNAL and "KeyError" in outcome.message
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        attempt(raising(KeyboardInterrupt()))


def test_outputs_are_checked_before_anything_is_loaded(tmp_path):
    request = Invert("anna.png", str(tmp_path / "nowhere" / "head.glb"), {}, None, None)
    with pytest.raises(OutputError):
        invert_photo(request, lambda progress: None, load_pipeline=raising(AssertionError("loaded")))


def test_a_photo_that_a_result_would_replace_is_told_before_anything_is_loaded(tmp_path):
    photo = tmp_path / "anna.png"
    photo.write_bytes(b"a photo")
    for output, preview in (("head.glb", str(photo)), ("anna.obj", None)):
        request = Invert(str(photo), str(tmp_path / output), {}, None, preview)
        with pytest.raises(OutputError, match="would replace the photo"):
            invert_photo(request, lambda progress: None, load_pipeline=raising(AssertionError("loaded")))


@pytest.mark.parametrize(("name", "model", "error"), [("b.png", "starter", PhotoError), ("a.png", "x", SettingsError)])
def test_a_missing_photo_or_model_is_told_before_anything_is_loaded(tmp_path, name, model, error):
    (tmp_path / "a.png").write_bytes(b"a photo")
    request = Invert(
        str(tmp_path / "a.png"), str(tmp_path / "head.glb"), {"model": model}, None, None, [str(tmp_path / name)]
    )
    with pytest.raises(error, match="There is no"):
        invert_photo(request, lambda progress: None, load_pipeline=raising(AssertionError("loaded")))


def test_the_preview_never_takes_the_place_of_the_texture(tmp_path):
    request = Invert("anna.jpg", str(tmp_path / "head.obj"), {}, None, str(tmp_path / "head.png"))
    with pytest.raises(SettingsError, match=r"texture beside head\.obj"):
        invert_photo(request, lambda progress: None, load_pipeline=raising(AssertionError("loaded")))


def test_files_beside_a_mesh_are_those_that_are_known_beforehand(tmp_path):
    head = fake_pipeline.make_head(Settings(), photo_sha256="")
    for suffix, beside in jobs.MESH_SUFFIXES.items():
        folder = tmp_path / suffix
        folder.mkdir()
        write_mesh(folder / f"head{suffix}", head, suffix.removeprefix("."))
        assert {path.suffix for path in folder.iterdir()} == {suffix, *beside}


def test_a_head_is_written_before_its_times_are_learnt(tmp_path, monkeypatch):
    def learn(settings, timings_s, photos):
        assert (tmp_path / "head.glb").is_file()

    (tmp_path / "anna.png").write_bytes(b"a photo")
    monkeypatch.setattr(fake_pipeline, "learn", learn)
    request = Invert(str(tmp_path / "anna.png"), str(tmp_path / "head.glb"), {}, None, None)
    invert_photo(request, lambda progress: None, load_pipeline=lambda: fake_pipeline)


def test_a_preview_does_not_change_how_long_the_next_head_is_expected_to_take(tmp_path, monkeypatch):
    now_s = [0.0]

    def write_preview(path, head):
        now_s[0] += 60
        path.write_bytes(b"")

    monkeypatch.setattr(jobs, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    (tmp_path / "anna.png").write_bytes(b"a photo")
    monkeypatch.setattr(jobs, "_write_preview", write_preview)
    learnt = {}
    monkeypatch.setattr(fake_pipeline, "learn", lambda settings, timings_s, photos: learnt.update(timings_s))
    request = Invert(str(tmp_path / "anna.png"), str(tmp_path / "head.glb"), {}, None, str(tmp_path / "head.png"))
    invert_photo(request, lambda progress: None, load_pipeline=lambda: fake_pipeline)
    assert learnt["write"] == 0


def test_report_and_preview_are_written_with_the_head(tmp_path):
    (tmp_path / "anna.png").write_bytes(b"photo")
    paths = [str(tmp_path / name) for name in ("anna.png", "head.glb", "report.json", "preview.png")]
    request = Invert(paths[0], paths[1], {"seed": 5}, *paths[2:])
    result = invert_photo(request, lambda progress: None, load_pipeline=lambda: fake_pipeline)
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == result["report"]
    assert (tmp_path / "preview.png").read_bytes()[1:4] == b"PNG"
    assert {path.name for path in tmp_path.iterdir()} == {"anna.png", "head.glb", "report.json", "preview.png"}


def test_output_folders_are_all_that_a_job_writes_to():
    folders = output_folders(Invert("p/a.png", "a/head.glb", {}, "b/r.json", None))
    assert {folder.as_posix() for folder in folders} == {"a", "b"}
    assert {folder.as_posix() for folder in output_folders(Resynthesize("{}", {}, "c/head.glb", {}))} == {"c"}
    assert output_folders(Ping()) == set()


def test_torch_that_does_not_load_is_told_with_the_remedy(monkeypatch):
    import_module = builtins.__import__

    def broken_import(name, *rest):
        if name == "torch":
            raise OSError("libgomp.so.1 is missing")
        return import_module(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken_import)
    with pytest.raises(ModelError, match=r"does not load \(libgomp.*protome\.py setup") as caught:
        jobs.load_pipeline()
    assert caught.value.code == "no_torch"
