# SPDX-License-Identifier: GPL-3.0-or-later
"""From a photo to a head in the scene, through a real worker process."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
import small_head
from headless import begin, bpy, new_file, pump


def requests(tmp_path):
    path = tmp_path / "requests.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def everything():
    """Names of all data-blocks that a head could leave behind."""
    kinds = ("scenes", "collections", "objects", "meshes", "materials", "images", "cameras", "lights", "shape_keys")
    return {kind: sorted(data.name for data in getattr(bpy.data, kind)) for kind in kinds}


def test_a_head_arrives_selected_with_sliders_and_texture(head):
    assert head.name == "Zoë 1" and head.select_get() and head.visible_get()
    assert head.parent is None and head.rotation_mode == "XYZ"
    keys = head.data.shape_keys.key_blocks
    assert [key.name for key in keys] == ["Basis", "Jaw width", "Smile", "Age"]
    assert [(key.slider_min, key.slider_max) for key in keys[1:]] == [(-2, 2), (-1, 1.5), (-3, 3)]
    assert all(polygon.use_smooth for polygon in head.data.polygons)
    image = next(node.image for node in head.data.materials[0].node_tree.nodes if node.type == "TEX_IMAGE")
    assert image.packed_file and image.colorspace_settings.name == "sRGB"


def test_it_stands_upright_at_real_size(head):
    assert head.dimensions[:] == pytest.approx((0.2, 0.2, 0.2), abs=1e-3)
    keys = head.data.shape_keys.key_blocks
    moved = [a.co - b.co for a, b in zip(keys["Smile"].data, keys["Basis"].data, strict=True)]
    top = max(moved, key=lambda offset: offset.length)
    assert top[:] == pytest.approx((0, 0, 0.02), abs=1e-6)  # glTF's +y is Blender's +z


def test_points_on_the_uv_seam_are_one_vertex(head):
    edges_of_one_face = [count for count in _faces_by_edge(head.data).values() if count == 1]
    assert edges_of_one_face == []


def _faces_by_edge(mesh):
    counts = dict.fromkeys(mesh.edge_keys, 0)
    for polygon in mesh.polygons:
        for key in polygon.edge_keys:
            counts[key] += 1
    return counts


def test_the_worker_gets_the_scene_s_choices(addon, photo, tmp_path):
    chosen = bpy.context.scene.protome
    chosen.photo, chosen.face, chosen.quality, chosen.texture, chosen.faces, chosen.seed = (
        photo(),
        2,
        "best",
        "1024",
        5000,
        7,
    )
    assert bpy.ops.protome.invert() == {"FINISHED"}
    sent = requests(tmp_path)[0]["params"]
    assert sent["photo"] == chosen.photo
    assert sent["settings"] == {
        "model": "starter",
        "method": "protome",
        "quality": "best",
        "device": "auto",
        "face": 1,
        "faces": 5000,
        "texture_px": 1024,
        "expression": "neutral",
        "seed": 7,
    }


def test_the_method_is_sent_for_every_model(addon, photo, tmp_path):
    chosen = bpy.context.scene.protome
    chosen.method = "spi"
    bpy.ops.protome.invert(filepath=photo())
    chosen.model = "my eg3d"
    bpy.ops.protome.invert(filepath=photo())
    bpy.ops.protome.invert(filepath=photo(), method="w+")
    settings = [request["params"]["settings"] for request in requests(tmp_path)]
    assert [(one["model"], one.get("method")) for one in settings] == [
        ("starter", "spi"), ("my eg3d", "spi"), ("my eg3d", "w+"),
    ]  # fmt: skip


def test_the_model_field_suggests_what_the_worker_has(addon, head):
    assert addon.properties.model_names == ["starter"]


def test_a_script_s_arguments_win_over_the_scene(addon, photo, tmp_path):
    bpy.context.scene.protome.quality = "best"
    bpy.ops.protome.invert(filepath=photo(), quality="draft", faces=1000)
    settings = requests(tmp_path)[0]["params"]["settings"]
    assert (settings["quality"], settings["faces"], settings["face"]) == ("draft", 1000, None)


def test_more_photos_are_sent_with_the_main_one(addon, photo, tmp_path):
    chosen = bpy.context.scene.protome
    chosen.photo = photo("front")
    left, right = photo("left"), photo("right")
    done = bpy.ops.protome.add_photos(
        directory=str(tmp_path), files=[{"name": Path(name).name} for name in (left, right)]
    )
    assert done == {"FINISHED"} and [one.path for one in chosen.more_photos] == [left, right]
    assert bpy.ops.protome.invert() == {"FINISHED"} and bpy.context.object.name == "front"
    assert bpy.ops.protome.remove_photo(number=0) == {"FINISHED"}
    bpy.ops.protome.invert()
    bpy.ops.protome.invert(filepath=left)
    sent = [(one["params"]["photo"], one["params"]["more_photos"]) for one in requests(tmp_path)]
    assert sent == [(chosen.photo, [left, right]), (chosen.photo, [right]), (left, [])]


def test_more_photos_are_looked_for_beside_the_main_one(addon, photo, tmp_path):
    chosen = bpy.context.scene.protome
    assert addon.photo.photo_folder(chosen) == ""
    chosen.photo = photo("front")
    assert addon.photo.photo_folder(chosen) == str(tmp_path)
    chosen.photo = str(tmp_path / "gone" / "front.png")
    assert addon.photo.photo_folder(chosen) == ""


def test_one_of_more_photos_that_is_gone_is_named(addon, photo, tmp_path):
    chosen = bpy.context.scene.protome
    chosen.photo = photo("front")
    chosen.more_photos.add().path = str(tmp_path / "nothing.png")
    with pytest.raises(RuntimeError, match=r"There is no file .*nothing\.png"):
        bpy.ops.protome.invert()
    assert requests(tmp_path) == []


def test_how_long_several_photos_take_is_not_taken_for_one(addon, photo):
    chosen = bpy.context.scene.protome
    chosen.photo = photo("front")
    chosen.more_photos.add().path = photo("left")
    bpy.ops.protome.invert()
    assert addon.job.session.measured_s == {}


def test_starting_a_job_returns_at_once_and_the_head_comes_later(addon, photo):
    start_s = time.monotonic()
    begin(addon, photo())
    assert time.monotonic() - start_s < 1 and not bpy.data.objects
    assert bpy.app.timers.is_registered(addon.job.poll)
    pump(addon, lambda: not addon.job.session.job)
    assert [obj.name for obj in bpy.data.objects] == ["Zoë 1"]


def test_progress_reaches_the_session(addon, photo):
    begin(addon, photo("slow"))
    pump(addon, lambda: addon.job.session.job.progress and addon.job.session.job.progress.fraction == 0.5)
    assert addon.job.session.job.progress.eta_s == 1.0 and addon.job.session.device == "cpu"


def test_a_second_job_must_wait(addon, photo):
    begin(addon, photo("slow"))
    assert not bpy.ops.protome.invert.poll()


def test_cancel_leaves_scene_and_worker_as_they_were(addon, photo):
    before = everything()
    begin(addon, photo("slow"))
    pump(addon, lambda: addon.job.session.job.progress)
    folder, process = addon.job.session.job.folder, addon.job.session.worker.process
    bpy.ops.protome.cancel()
    pump(addon, lambda: not addon.job.session.job, timeout_s=2)
    assert addon.job.session.notice == "Cancelled." and not addon.job.session.error
    assert everything() == before and not folder.exists() and process.poll() is None


def test_a_worker_that_ignores_cancel_is_ended(addon, photo):
    begin(addon, photo("stubborn"))
    pump(addon, lambda: addon.job.session.job.progress)
    process = addon.job.session.worker.process
    bpy.ops.protome.cancel()
    pump(addon, lambda: not addon.job.session.job, timeout_s=10)
    assert process.poll() is not None and addon.job.session.notice == "Cancelled."
    assert bpy.ops.protome.invert(filepath=photo()) == {"FINISHED"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no face", "no face.png shows no face. Choose another photo."),
        ("crash", "The worker was killed, often for lack of memory. Close other programs, then try again."),
        ("garbage", "The worker wrote a line that is not JSON: b'Traceback'"),
    ],
)
def test_a_failure_is_one_sentence_and_leaves_the_scene_alone(addon, photo, head, name, message):
    before = everything()
    with pytest.raises(RuntimeError, match=re.escape(message)):
        bpy.ops.protome.invert(filepath=photo(name))
    assert addon.job.session.error == message
    assert everything() == before
    assert bpy.ops.protome.invert(filepath=photo("next")) == {"FINISHED"}
    assert addon.job.session.error == ""


def test_a_head_that_blender_cannot_take_in_is_kept_as_a_file(addon, photo, tmp_path):
    before = everything()
    with pytest.raises(
        RuntimeError, match=r"cannot read head\.glb.* The head is kept in .*broken .*\.glb; File > Import"
    ):
        bpy.ops.protome.invert(filepath=photo("broken"))
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.read_bytes() == b"not a GLB" and str(kept) in addon.job.session.error
    assert everything() == before and not addon.job.session.job


def test_a_head_that_cannot_be_moved_either_stays_where_it_is(addon, photo, tmp_path):
    (tmp_path / "kept").write_text("no folder can be made here")
    with pytest.raises(RuntimeError, match="The head is kept in"):
        bpy.ops.protome.invert(filepath=photo("broken"))
    (kept,) = Path(bpy.app.tempdir).glob("protome-*/head.glb")
    assert str(kept) in addon.job.session.error
    shutil.rmtree(kept.parent)


def test_a_photo_that_is_missing_is_refused_before_the_worker_starts(addon, tmp_path):
    with pytest.raises(RuntimeError, match=r"There is no file .*nothing\.png\. Choose another photo\."):
        bpy.ops.protome.invert(filepath=str(tmp_path / "nothing.png"))
    with pytest.raises(RuntimeError, match="No photo is chosen"):
        bpy.ops.protome.invert()
    assert addon.job.session.worker is None


def test_without_a_worker_s_python_the_message_says_what_to_do(addon, photo, tmp_path):
    addon.preferences.preferences().python = str(tmp_path / "python")
    with pytest.raises(RuntimeError, match=r"There is no Python at .* Correct the path in Protome's preferences"):
        bpy.ops.protome.invert(filepath=photo())
    addon.preferences.preferences().python = ""
    with pytest.raises(RuntimeError, match="worker is not set up"):
        bpy.ops.protome.invert(filepath=photo())


def test_an_importer_that_is_switched_off_is_told_before_the_worker_starts(addon, photo):
    import addon_utils

    addon_utils.disable("io_scene_gltf2")
    try:
        with pytest.raises(RuntimeError, match="glTF importer is switched off"):
            bpy.ops.protome.invert(filepath=photo())
    finally:
        addon_utils.enable("io_scene_gltf2")
    assert addon.job.session.worker is None


def test_nothing_but_the_head_stays_in_the_scene(addon, photo):
    assert bpy.ops.protome.invert(filepath=photo("clutter")) == {"FINISHED"}
    left = everything()
    names = ("objects", "meshes", "materials", "images")
    assert [left[name] for name in names] == [["clutter"]] * 4
    assert not left["cameras"] and not left["collections"]
    assert bpy.context.object.matrix_world.translation[:] == pytest.approx((1, 0, 0))


def test_a_blender_image_is_a_photo_too(addon, tmp_path):
    image = bpy.data.images.new("render", 16, 16)
    chosen = bpy.context.scene.protome
    chosen.source, chosen.image = "IMAGE", image
    written = addon.photo.chosen_photo(chosen, tmp_path)
    assert written.read_bytes().startswith(b"\x89PNG") and image.filepath == ""
    assert bpy.ops.protome.invert() == {"FINISHED"} and bpy.context.object.name == "render"


@pytest.mark.parametrize("is_float", [False, True])
def test_painted_pixels_reach_the_file(addon, tmp_path, is_float):
    image = bpy.data.images.new("painted", 3, 2, alpha=True, float_buffer=is_float)
    colours = [i / 23 for i in range(24)]
    image.pixels.foreach_set(colours)
    written = addon.photo.image_file(image, tmp_path)
    back = bpy.data.images.load(str(written))
    expected = [c if not is_float or i % 4 == 3 else srgb(c) for i, c in enumerate(colours)]
    assert back.pixels[:] == pytest.approx(expected, abs=0.5 / 255 + 1e-6)
    assert image.filepath == "" and back.size[:] == (3, 2)


def srgb(light):
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def test_a_packed_image_is_handed_over_as_it_was(addon, tmp_path):
    path, content = tmp_path / "packed.png", small_head.png((10, 20, 30))
    path.write_bytes(content)
    loaded = bpy.data.images.load(str(path))
    assert addon.photo.image_file(loaded, tmp_path) == path
    loaded.pack()
    path.unlink()
    assert addon.photo.image_file(loaded, tmp_path).read_bytes() == content


def test_images_that_are_no_picture_are_refused(addon, tmp_path):
    movie = bpy.data.images.new("movie", 4, 4)
    movie.source = "SEQUENCE"
    with pytest.raises(addon.errors.PhotoError, match="movie is no single picture"):
        addon.photo.image_file(movie, tmp_path)


def test_in_edit_mode_the_head_waits(addon, head, photo):
    bpy.ops.object.mode_set(mode="EDIT")
    begin(addon, photo("second"))
    pump(addon, lambda: addon.job.session.job.output)
    addon.job.poll()
    assert len(bpy.data.objects) == 1 and bpy.context.mode == "EDIT_MESH"
    addon.job.session.job.started_s -= 1000  # As if the user had stayed there for long.
    bpy.ops.object.mode_set(mode="OBJECT")
    pump(addon, lambda: not addon.job.session.job)
    assert sorted(obj.name for obj in bpy.data.objects) == ["Zoë 1", "second"]
    assert addon.job.session.measured_s["starter", "protome", "balanced"] < 100, "waiting for the user is no work"


def test_a_script_in_edit_mode_gets_its_head_at_once(addon, head, photo):
    bpy.ops.object.mode_set(mode="EDIT")
    assert bpy.ops.protome.invert(filepath=photo("second")) == {"FINISHED"}
    assert bpy.context.mode == "OBJECT" and bpy.context.object.name == "second"


@pytest.mark.parametrize("hidden_by", ["exclude", "hide_viewport"])
def test_a_hidden_active_collection_does_not_hide_the_head(addon, photo, hidden_by):
    collection = bpy.data.collections.new("hidden")
    bpy.context.scene.collection.children.link(collection)
    layer = bpy.context.view_layer.layer_collection.children["hidden"]
    bpy.context.view_layer.active_layer_collection = layer
    setattr(layer, hidden_by, True)
    assert bpy.ops.protome.invert(filepath=photo()) == {"FINISHED"}
    assert bpy.context.object.visible_get() and not collection.objects


def test_a_local_view_takes_the_head_in(addon, photo):
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    bpy.ops.mesh.primitive_cube_add()
    with bpy.context.temp_override(window=window, area=area, region=area.regions[-1]):
        assert bpy.ops.view3d.localview() == {"FINISHED"}
    bpy.ops.protome.invert(filepath=photo())
    head = bpy.context.object.evaluated_get(bpy.context.evaluated_depsgraph_get())
    assert head.visible_in_viewport_get(area.spaces.active)


@pytest.mark.parametrize(("before", "after"), [("MATERIAL", "TEXTURE"), ("VERTEX", "VERTEX")])
def test_plain_solid_shading_changes_to_textures(addon, photo, before, after):
    areas = bpy.context.window_manager.windows[0].screen.areas
    shading = next(area.spaces.active for area in areas if area.type == "VIEW_3D").shading
    shading.color_type = before
    bpy.ops.protome.invert(filepath=photo())
    assert shading.color_type == after


def test_the_active_collection_gets_the_head(addon, photo):
    collection = bpy.data.collections.new("cast")
    bpy.context.scene.collection.children.link(collection)
    bpy.context.view_layer.active_layer_collection = bpy.context.view_layer.layer_collection.children["cast"]
    bpy.ops.protome.invert(filepath=photo())
    assert bpy.context.object.users_collection == (collection,)


def test_a_file_loaded_during_a_job_receives_the_head(addon, photo, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "other.blend"))
    begin(addon, photo())
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "other.blend"))
    pump(addon, lambda: not addon.job.session.job)
    assert [obj.name for obj in bpy.data.objects] == ["Zoë 1"]


def test_disabling_the_add_on_ends_the_worker(addon, photo):
    import addon_utils

    begin(addon, photo("slow"))
    process, poll = addon.job.session.worker.process, addon.job.poll
    addon_utils.disable("bl_ext.user_default.protome")
    assert process.poll() is not None and not bpy.app.timers.is_registered(poll)
    new_file()


def test_a_job_that_is_refused_leaves_no_temporary_files(addon, head):
    before = set(Path(bpy.app.tempdir).glob("protome-*"))
    addon.preferences.preferences().python = "/no/such/python"
    addon.job.stop_worker()
    for operator in (bpy.ops.protome.invert, bpy.ops.protome.resynthesize):
        with pytest.raises(RuntimeError):
            operator()
    assert set(Path(bpy.app.tempdir).glob("protome-*")) == before


def test_temporary_files_are_gone_after_a_job(addon, photo):
    before = set(Path(bpy.app.tempdir).glob("protome-*"))
    bpy.ops.protome.invert(filepath=photo())
    assert set(Path(bpy.app.tempdir).glob("protome-*")) == before
