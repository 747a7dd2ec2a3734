# SPDX-License-Identifier: Apache-2.0
"""The whole line on a starter model made here: an egg for a head, with the astronaut's landmarks on its front."""

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from backend import catalogue, likeness, pipeline
from backend import face_mesh_points as points
from backend.config import Settings
from backend.errors import Cancelled, ModelError, PhotoError, RecordError, SettingsError
from backend.head import PHOTO_EXPRESSION, in_photo, opened_mesh
from backend.inversion import invert
from backend.inversion.refine import RefineConfig
from backend.mesh import weld
from backend.pipeline import reconstruct, resynthesize
from backend.portrait_model.kept import from_record
from backend.portrait_model.opening import open_model_of
from backend.record import record_from_json, record_to_json
from backend.starter import load_starter, save_starter
from tests.portraits import astronaut_face, needs_photo_models
from tests.small_starter import AXES, small_starter

DRAFT = Settings(quality="draft", device="cpu", faces=3000, texture_px=256)


def silent(progress):
    pass


def landmarks_on_the_egg():
    """The astronaut's landmarks with her eyes 63 mm apart, laid on the egg's front."""
    places = astronaut_face().landmarks.copy()
    eyes = places[[points.RIGHT_EYE_OUTER, points.LEFT_EYE_OUTER]]
    places = (places - eyes.mean(0)) * 0.09 / np.linalg.norm(eyes[1] - eyes[0])
    x, y = places[:, 0], 0.02 - places[:, 1]
    depth = AXES[2] * np.sqrt(np.maximum(0.05, 1 - (x / AXES[0]) ** 2 - (y / AXES[1]) ** 2))
    return np.column_stack([x, y, depth])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_starter(path, small_starter(landmarks_on_the_egg()))
    return path


@pytest.fixture(scope="module", autouse=True)
def installed(request, tmp_path_factory):
    """The small model stands where the starter model is looked for; the slow stages do little."""
    path = request.getfixturevalue("model") if astronaut_can_be_read() else tmp_path_factory.mktemp("none") / "none"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "starter_path", lambda: path)
        patch.setitem(invert.REFINEMENT, "balanced", RefineConfig(code_steps=3, offset_steps=3, detail_steps=2))
        patch.setattr(likeness, "TURNS_DEG", (0,))
        yield


def astronaut_can_be_read():
    return not needs_photo_models.args[0]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def head(photo, told):
    settings = replace(DRAFT, quality="balanced", seed=3, expression="photo", device="auto")
    return reconstruct([photo], settings, told.append)


def mesh_is_sound(mesh, texture):
    assert np.isfinite(mesh.vertices).all() and np.isfinite(mesh.normals).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-4)
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    assert texture.shape == (256, 256, 3)


@needs_photo_models
def test_a_photo_becomes_a_head(head):
    mesh_is_sound(head.mesh, head.texture)
    report = head.report
    assert report["mesh"]["watertight"] and report["mesh"]["manifold"] and report["mesh"]["faces"] <= 3000
    assert len(report["faces"]) == 1 and report["faces"][0]["score"] > 0.5
    assert report["model"]["id"] == "small-1" and report["seed"] == 3
    assert report["device"] in ("cpu", "cuda", "mps")  # The one that was used, not the choice.
    assert {"identity_0", "landmark_mm", "color", "silhouette"} <= set(report["scores"])
    assert np.ptp(head.mesh.vertices, axis=0) == pytest.approx(2 * AXES, abs=0.05)
    assert head.metres_per_unit == 1.0


@needs_photo_models
def test_its_stages_are_timed_and_the_progress_never_falls(head, told):
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    assert list(head.report["timings_s"]) == list(pipeline.EXPECTED_S)
    assert 0 < head.report["scores"]["confidence"] < 1
    assert f"{head.report['scores']['confidence']:.2f}" in head.report["confidence_note"]
    assert list(dict.fromkeys(progress.stage for progress in told)) == list(pipeline.EXPECTED_S)


@needs_photo_models
def test_every_slider_has_a_morph_target(head):
    names = [target.slider.name for target in head.morph_targets]
    assert names == ["Jaw width", PHOTO_EXPRESSION, "Mouth open", "Smile", "Hair colour"]
    assert [slider.name for slider in head.record.sliders] == names
    assert all(target.offsets.shape == head.mesh.vertices.shape for target in head.morph_targets)
    assert np.abs(head.morph_targets[0].offsets).max() > 0.0005


@needs_photo_models
def test_copies_at_uv_seams_have_the_same_normal_and_move_together(head):
    _, first, place = np.unique(head.mesh.canonical, axis=0, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    assert len(first) < len(place)
    for values in (head.mesh.normals, head.mesh.vertices, *(target.offsets for target in head.morph_targets)):
        np.testing.assert_array_equal(values, values[first][place])


@needs_photo_models
def test_the_record_survives_being_written(head):
    back = record_from_json(record_to_json(head.record))
    assert back.portrait_jpeg == head.record.portrait_jpeg
    assert set(back.codes) == set(head.record.codes)


@pytest.fixture(scope="module")
def base(head):
    """The head made anew from its record, no slider moved."""
    return resynthesize(record_from_json(record_to_json(head.record)), {}, DRAFT, silent)


@pytest.fixture(scope="module")
def moved(head):
    return resynthesize(head.record, {"Jaw width": 0.8, "Mouth open": 0.5}, DRAFT, silent)


@needs_photo_models
def test_resynthesized_without_sliders_the_geometry_is_the_same(head, base):
    before, after = (weld(one.mesh)[0] for one in (head, base))
    assert len(base.mesh.faces) == pytest.approx(len(head.mesh.faces), rel=0.02)
    # The record keeps the plane offset in half precision.
    assert np.abs(before.min(0) - after.min(0)).max() < 0.001 and np.abs(before.max(0) - after.max(0)).max() < 0.001
    assert base.record.slider_values == {PHOTO_EXPRESSION: 1.0}


@needs_photo_models
def test_a_shape_slider_moves_the_mesh_as_its_morph_target_says(head, base, moved):
    """The canonical mesh does not depend on shape, so that vertices match one by one."""
    np.testing.assert_array_equal(moved.mesh.faces, base.mesh.faces)
    offsets = {target.slider.name: target.offsets for target in base.morph_targets}
    offsets = 0.8 * offsets["Jaw width"] + 0.5 * offsets["Mouth open"]
    np.testing.assert_allclose(moved.mesh.vertices, base.mesh.vertices + offsets, atol=5e-5)
    assert moved.record.slider_values == {"Jaw width": 0.8, "Mouth open": 0.5, PHOTO_EXPRESSION: 1.0}
    np.testing.assert_array_equal(moved.record.codes["photo_shape"], head.record.codes["photo_shape"])


@needs_photo_models
def test_sliders_go_on_from_where_they_were_and_appearance_recolors_the_texture(head, base, moved):
    back = resynthesize(moved.record, {"Jaw width": -0.8, "Mouth open": -0.5, "Hair colour": 2.0}, DRAFT, silent)
    baked = {"Jaw width": 0.0, "Mouth open": 0.0, "Hair colour": 2.0}
    assert back.record.slider_values == baked | {PHOTO_EXPRESSION: 1.0}
    np.testing.assert_allclose(back.record.codes["shape"], head.record.codes["shape"], atol=1e-9)
    np.testing.assert_array_equal(back.record.codes["photo_ws"], head.record.codes["photo_ws"])
    assert np.abs(back.texture.astype(int) - base.texture.astype(int)).mean() > 0.5


def photo_target(head):
    return next(target for target in head.morph_targets if target.slider.name == PHOTO_EXPRESSION)


@pytest.fixture(scope="module")
def smiling(head):
    """As though the photo had shown a smile with an open mouth."""
    codes = head.record.codes | {"expression": np.zeros(3), "photo_expression": np.array([0.5, 0.8, 0.0])}
    record = replace(head.record, codes=codes, slider_values={PHOTO_EXPRESSION: 0.5})
    return resynthesize(record, {PHOTO_EXPRESSION: 0.75, "Jaw width": 0.8}, DRAFT, silent)


def placed(template, head, expression):
    """The head's vertices with an expression, by the template alone."""
    points = head.mesh.canonical.astype(np.float64)
    return points + template.binding(points) @ template.offsets(head.record.codes["shape"], expression)


@needs_photo_models
def test_the_mesh_is_at_rest_and_its_slider_adds_the_photo_s_expression(smiling, model):
    template, codes = load_starter(model).template, smiling.record.codes
    assert not codes["expression"].any()
    np.testing.assert_allclose(smiling.mesh.vertices, placed(template, smiling, codes["expression"]), atol=1e-7)
    seen = placed(template, smiling, codes["photo_expression"])
    assert np.abs(seen - smiling.mesh.vertices).max() > 0.001
    np.testing.assert_allclose(in_photo(smiling).mesh.vertices, seen, atol=1e-7)
    assert PHOTO_EXPRESSION in " ".join(smiling.report["notes"])


@needs_photo_models
def test_other_expressions_add_up_with_the_photo_s(smiling, model):
    """Base, photo's expression and an open mouth together are what the template says of the sum of the codes."""
    template, codes = load_starter(model).template, smiling.record.codes
    opened = next(target for target in smiling.morph_targets if target.slider.name == "Mouth open")
    seen = placed(template, smiling, codes["photo_expression"] + np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(in_photo(smiling).mesh.vertices + opened.offsets, seen, atol=3e-5)


@needs_photo_models
def test_resynthesis_leaves_the_photo_s_expression_a_slider_where_it_was_put(smiling):
    assert photo_target(smiling).start == 0.75
    assert smiling.record.slider_values == {"Jaw width": 0.8, PHOTO_EXPRESSION: 0.75}


@needs_photo_models
def test_a_head_of_an_earlier_version_looks_as_it_did_and_gets_a_face_at_rest(smiling):
    """It had the expression baked in, and no slider for it."""
    codes = smiling.record.codes | {"expression": smiling.record.codes["photo_expression"]}
    sliders = [slider for slider in smiling.record.sliders if slider.name != PHOTO_EXPRESSION]
    record = replace(smiling.record, codes=codes, sliders=sliders, slider_values={"Jaw width": 0.8})
    taken_up = resynthesize(record, {}, DRAFT, silent)
    assert photo_target(taken_up).start == 1.0
    np.testing.assert_allclose(opened_mesh(taken_up).vertices, in_photo(smiling).mesh.vertices, atol=1e-6)
    np.testing.assert_allclose(taken_up.mesh.vertices, smiling.mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(taken_up.texture, smiling.texture)


@needs_photo_models
def test_a_head_can_be_opened_as_in_the_photo(head):
    assert photo_target(head).start == 1.0 and head.record.slider_values == {PHOTO_EXPRESSION: 1.0}


@needs_photo_models
def test_an_unknown_slider_is_a_settings_error(head):
    with pytest.raises(SettingsError, match="Jaw length"):
        resynthesize(head.record, {"Jaw length": 1.0}, DRAFT, silent)


@needs_photo_models
def test_a_head_of_another_model_is_a_record_error(head):
    with pytest.raises(RecordError, match="eg3d-1") as caught:
        resynthesize(replace(head.record, generator={"id": "eg3d-1"}), {}, DRAFT, silent)
    assert caught.value.code == "other_model"


@needs_photo_models
@pytest.mark.parametrize("name", ["ws", "shape", "expression", "photo_ws", "photo_mask"])
def test_a_record_without_one_of_its_arrays_is_a_record_error(head, name):
    codes = {key: value for key, value in head.record.codes.items() if key != name}
    with pytest.raises(RecordError, match=name) as caught:
        resynthesize(replace(head.record, codes=codes), {}, DRAFT, silent)
    assert caught.value.code == "record_damaged"


@needs_photo_models
@pytest.mark.parametrize("name", ["ws", "shape", "photo_expression", "plane_offset", "photo_mask"])
def test_a_record_with_an_array_of_another_size_is_a_record_error(head, name):
    codes = head.record.codes | {name: np.zeros((2, 3), np.float32)[None]}
    with pytest.raises(RecordError, match=name) as caught:
        resynthesize(replace(head.record, codes=codes), {}, DRAFT, silent)
    assert caught.value.code == "record_damaged"


@needs_photo_models
def test_a_picture_in_the_record_that_is_none_is_a_record_error(head):
    with pytest.raises(RecordError) as caught:
        resynthesize(replace(head.record, portrait_jpeg=b"no picture"), {}, DRAFT, silent)
    assert caught.value.code == "record_damaged"


@needs_photo_models
def test_a_job_can_be_cancelled_while_it_refines(photo):
    def stop(progress):
        if progress.stage == "refine":
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        reconstruct([photo], replace(DRAFT, quality="balanced"), stop)


@pytest.fixture(scope="module")
def darker(tmp_path_factory):
    """The same person in a mirrored and darker photo."""
    path = tmp_path_factory.mktemp("photos") / "darker.png"
    Image.fromarray((skimage.data.astronaut()[:, ::-1] * 0.7).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def of_two(photo, darker):
    """The second photo is there twice."""
    return reconstruct([photo, darker, darker], DRAFT, silent)


@needs_photo_models
def test_two_photos_become_one_head_with_an_expression_and_a_camera_for_each(of_two, head):
    mesh_is_sound(of_two.mesh, of_two.texture)
    (other,) = of_two.record.more_photos
    assert other.portrait_jpeg != of_two.record.portrait_jpeg and other.camera != of_two.record.camera
    assert "photo_mask" in other.codes and not {"ws", "shape", "plane_offset"} & set(other.codes)
    assert {"identity_0", "identity_photo_2", "landmark_mm", "landmark_photo_2_mm"} <= set(of_two.report["scores"])
    assert [one["name"] for one in of_two.report["photos"]] == ["astronaut.png", "darker.png"]
    assert "darker.png is the same picture as darker.png and counts once." in of_two.report["notes"]
    assert max(one["weight"] for one in of_two.report["photos"]) == 1
    single = [one["confidence"] for one in of_two.report["photos"]]
    assert of_two.report["scores"]["confidence"] == max(single) and len(set(single)) == 2
    assert "by the clearest of 2 photos" in of_two.report["confidence_note"]
    assert of_two.record.photo_sha256 != head.record.photo_sha256 and "photos" not in head.report


@needs_photo_models
def test_a_head_of_two_photos_is_taken_up_again_with_both(of_two):
    again = resynthesize(record_from_json(record_to_json(of_two.record)), {}, DRAFT, silent)
    assert len(again.record.more_photos) == 1
    assert "identity_photo_2" in again.report["scores"]
    assert of_two.record.weight == pytest.approx(of_two.report["photos"][0]["weight"], abs=1e-3)
    kept = from_record(open_model_of(of_two.record, DRAFT), replace(of_two.record, weight=0.25))
    assert [one.weight for one in kept.portraits] == [0.25, of_two.record.more_photos[0].weight]
    assert np.abs(again.texture.astype(int) - of_two.texture.astype(int)).mean() < 3


@pytest.fixture
def meadow(tmp_path):
    path = tmp_path / "meadow.png"
    Image.fromarray(np.full((200, 200, 3), (90, 140, 60), np.uint8)).save(path)
    return path


@needs_photo_models
def test_a_photo_without_a_face_is_left_out_with_a_note_where_another_shows_one(photo, meadow):
    head = reconstruct([meadow, photo], DRAFT, silent)
    left_out, instead = head.report["notes"][-2:]
    assert left_out.startswith("meadow.png is left out. No face was found in meadow.png.")
    assert instead == "astronaut.png is the main photo instead."
    assert not head.record.more_photos and "photos" not in head.report


@needs_photo_models
def test_where_no_photo_shows_a_face_the_first_is_named(meadow, tmp_path):
    sea = tmp_path / "sea.png"
    Image.fromarray(np.full((200, 200, 3), (60, 90, 140), np.uint8)).save(sea)
    with pytest.raises(PhotoError, match=r"No face was found in meadow\.png"):
        reconstruct([meadow, sea], DRAFT, silent)


def test_an_unknown_model_is_a_settings_error(photo):
    with pytest.raises(SettingsError, match="no model “eg3d”") as caught:
        reconstruct([photo], replace(DRAFT, model="eg3d"), silent)
    assert caught.value.code == "unknown_model"


def test_a_missing_model_is_a_model_error(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "starter_path", lambda: tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="missing"):
        reconstruct([photo], DRAFT, silent)
