# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Protome tab shows at each moment."""

import json
import re

import pytest
from conftest import ROOT
from headless import begin, bpy, pump
from layout_recorder import draw


@pytest.fixture
def create(addon):
    return lambda: draw(addon.panels.PROTOME_PT_create)


def test_the_choices_and_the_expected_time(create):
    drawn = create()
    assert drawn[:5] == ["Photo From", "Photo", "Add Photos of This Person", "Quality", "Expression"]
    assert drawn[5:] == ["Takes about 60 s", "Create Head", "Options"]
    bpy.context.scene.protome.source, bpy.context.scene.protome.quality = "IMAGE", "draft"
    assert "Image" in create() and "Takes about 20 s" in create()


def test_what_most_heads_leave_as_it_is_is_folded_away(addon, create):
    drawn = draw(addon.panels.PROTOME_PT_create, opened=("PROTOME_options",))
    assert drawn[:-6] == create()
    assert drawn[-6:] == ["Face", "Model", "Method", "Texture", "Triangles", "Seed"]


def test_other_generators_keep_the_photo_s_expression(create):
    bpy.context.scene.protome.model = "ffhq"
    assert "Expression" not in create()


def test_more_photos_are_listed_each_with_a_button_that_removes_it(create, photo):
    before = create()
    assert before[2] == "Add Photos of This Person"
    more = bpy.context.scene.protome.more_photos
    for name in ("left", "right"):
        more.add().path = photo(name)
    drawn = create()
    assert drawn[2:7] == ["Photo", "", "Photo", "", "Add Photos of This Person"]
    assert "Takes about 3 min" in drawn


def test_the_expected_time_is_what_the_worker_has_measured_on_this_machine(addon, create):
    path = addon.preferences.places().times
    path.parent.mkdir(parents=True, exist_ok=True)
    cpu = {
        "expected_s": {"starter|protome|balanced": 41.2, "starter|protome|draft": "soon", "eg3d|pti|best": 600},
        "further_photo_s": {"starter|protome|balanced": 30.0, "eg3d|pti|best": "soon"},
    }
    path.write_text(json.dumps({"version": 1, "last": "cpu", "devices": {"cpu": cpu}}))
    chosen = bpy.context.scene.protome
    assert "Takes about 41 s" in create()
    chosen.more_photos.add().path = "left.png"
    chosen.more_photos.add()  # A line without a photo counts nothing.
    assert "Takes about 71 s" in create()
    chosen.more_photos.clear()
    chosen.quality = "draft"
    assert "Takes about 20 s" in create()
    chosen.model, chosen.method, chosen.quality = "eg3d", "pti", "best"
    assert "Takes about 10 min" in create()
    for damage in ("", "{", "[]", '{"devices": {"cpu": 1}, "last": "cpu"}', '{"devices": {}, "last": []}'):
        path.write_text(damage)
        assert "The first run will show how long it takes" in create()
    path.unlink()


def test_the_time_of_another_model_or_method_is_unknown_until_it_ran(addon, create, photo):
    chosen = bpy.context.scene.protome
    chosen.method = "w"
    assert "The first run will show how long it takes" in create()
    chosen.model, chosen.method = "eg3d", "pti"
    assert "The first run will show how long it takes" in create()
    bpy.ops.protome.invert(filepath=photo())
    assert "Takes about 1 s" in create()
    chosen.method = "spi"
    assert "The first run will show how long it takes" in create()


def test_a_running_job_shows_stage_remaining_time_and_cancel(addon, create, photo):
    begin(addon, photo("slow"))
    assert create() == ["Creating slow", "Starting the worker", "Cancel"]
    pump(addon, lambda: addon.job.session.job.progress and addon.job.session.job.progress.eta_s)
    assert create() == ["Creating slow", "Refining", "About 1 s left", "Cancel"]
    bpy.ops.protome.cancel()
    assert create() == ["Creating slow", "Cancelling", "Cancel"]


def test_every_stage_of_a_job_has_words(addon):
    def stages(file):
        return set(re.findall(r"(?:Progress|clock\.stage)\(\"(\w+)\"", (ROOT / "backend" / file).read_text()))

    assert stages("jobs.py") | stages("pipeline.py") == addon.panels.STAGES.keys()


def test_the_sidebar_is_drawn_again_only_when_it_shows_something_new(addon, photo, monkeypatch):
    drawings = []
    monkeypatch.setattr(addon.job, "redraw", lambda: drawings.append(1))
    begin(addon, photo("slow"))
    pump(addon, lambda: addon.job.session.job.progress and addon.job.session.job.progress.eta_s)
    assert drawings
    drawings.clear()
    for _ in range(5):
        addon.job.poll()
    assert not drawings
    bpy.ops.protome.cancel()
    pump(addon, lambda: not addon.job.session.job)
    assert drawings


def test_a_new_surface_is_told_from_a_new_head(addon, create, head):
    with addon.job.new_folder() as folder:
        addon.job.start_resynthesize(head, {}, {}, folder)
    assert create()[0] == "Resynthesizing Zoë 1"


def test_an_error_stays_until_it_is_dismissed(create, photo):
    with pytest.raises(RuntimeError):
        bpy.ops.protome.invert(filepath=photo("no face"))
    drawn = create()
    assert " ".join(drawn[: drawn.index("Open Log")]) == "no face.png shows no face. Choose another photo."
    bpy.ops.protome.dismiss()
    assert "Open Log" not in create()


def test_a_result_that_waits_says_what_for(addon, create, head, photo):
    bpy.ops.object.mode_set(mode="EDIT")
    begin(addon, photo("second"))
    pump(addon, lambda: addon.job.session.job.output)
    assert "Go back to Object Mode" in " ".join(create())


def test_the_first_run_explains_itself(addon, create):
    preferences = addon.preferences.preferences()
    preferences.python = ""
    text = " ".join(create())
    assert "Python Package Index" in text and "never leave this computer" in text and "Allow Online Access" in text
    assert not bpy.ops.protome.set_up.poll()
    preferences.python = "/no/such/python"
    assert "There is no Python at" in " ".join(create())


def test_the_confidence_stands_in_the_sidebar_until_it_is_dismissed(create, photo, monkeypatch):
    note = "Confidence 0.62: the face is seen from the side; the hair behind is a guess."
    monkeypatch.setenv("PROTOME_FAKE_NOTE", note)
    bpy.ops.protome.invert(filepath=photo())
    assert note in " ".join(create())
    bpy.ops.protome.dismiss()
    assert "Confidence" not in " ".join(create())


def test_what_the_worker_notes_of_a_head_stands_in_the_sidebar(create, photo, monkeypatch):
    notes = ["meadow.png is left out. No face was found in it.", "left.png is the main photo instead."]
    monkeypatch.setenv("PROTOME_FAKE_NOTES", "\n".join(notes))
    monkeypatch.setenv("PROTOME_FAKE_NOTE", "Confidence in the shape 0.62.")
    bpy.ops.protome.invert(filepath=photo())
    drawn = " ".join(create())
    assert " ".join([*notes, "Confidence in the shape 0.62."]) in drawn
    bpy.ops.protome.dismiss()
    bpy.ops.protome.resynthesize()
    assert notes[0] in " ".join(create())


def test_the_active_head_s_sliders_by_group(addon, head):
    drawn = draw(addon.panels.PROTOME_PT_head)
    assert drawn == [
        *("Model starter, licence", "Apache-2.0"),
        *("Resynthesize", "Reset Sliders", "Colours follow with Resynthesize"),
        *("Shape", "Jaw width", "Expression", "Smile", "Person", "Age"),
    ]
    bpy.ops.mesh.primitive_cube_add()
    assert draw(addon.panels.PROTOME_PT_head) is None


def test_the_photo_s_expression_stands_once_above_the_groups(addon, photo):
    bpy.ops.protome.invert(filepath=photo("expressive"))
    drawn = draw(addon.panels.PROTOME_PT_head)
    assert drawn[5:] == ["Photo expression", "Shape", "Jaw width", "Expression", "Smile", "Person", "Age"]


def test_groups_of_sliders_have_an_order_and_the_many_are_folded_away(addon, head):
    summary = addon.properties.head_summary(head)
    for name, group in (("Basis", "ARKit"), ("Basis", "Mine"), ("Basis", "Pose")):
        slider = summary.sliders.add()
        slider.name, slider.group = name, group
    assert addon.sliders.slider_groups(head) == ["Shape", "Expression", "Person", "Pose", "ARKit", "Mine"]
    drawn = draw(addon.panels.PROTOME_PT_head)
    assert drawn[drawn.index("Pose") :] == ["Pose", "Basis", "ARKit", "Mine", "Basis"]


def test_a_non_commercial_model_is_named(addon, photo):
    bpy.ops.protome.invert(filepath=photo("restricted"))
    assert "Not for commercial use" in " ".join(draw(addon.panels.PROTOME_PT_head))
    assert bpy.context.object["protome_licence"] == "Made with starter (Apache-2.0): not for commercial use."


def test_after_a_job_licence_and_free_memory(addon, create, head):
    drawn = create()
    assert "Model starter, licence Apache-2.0" in " ".join(drawn) and drawn[-1] == "Free Memory (cpu)"
    process = addon.job.session.worker.process
    assert bpy.ops.protome.stop_worker() == {"FINISHED"}
    assert process.poll() is not None and "Free Memory" not in create()


def test_preferences_draw(addon):
    drawn = draw(addon.preferences.ProtomePreferences)
    assert drawn[:3] == ["Worker's Python", "Models Folder", "Device"]
