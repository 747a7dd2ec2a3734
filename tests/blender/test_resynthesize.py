# SPDX-License-Identifier: GPL-3.0-or-later
"""A head's sliders, and its new surface after Resynthesize."""

import json

import pytest
from headless import begin, bpy, new_file, pump


def keys(obj):
    return obj.data.shape_keys.key_blocks


def resynthesize_later(addon, obj):
    """What the button does, without waiting."""
    values = addon.sliders.slider_values(obj)
    with addon.job.new_folder() as folder:
        addon.job.start_resynthesize(obj, values, {"faces": 1000}, folder)


def test_moving_a_slider_does_not_touch_the_worker(addon, head):
    worker = addon.job.session.worker
    for step in range(20):
        keys(head)["Jaw width"].value = step / 10
    bpy.context.view_layer.update()
    shape = head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    assert max(vertex.co.x for vertex in shape.vertices) == pytest.approx(0.1 * 1.19, abs=1e-4)
    assert not worker.has_outgoing and addon.job.session.job is None


def test_a_slider_stops_at_its_range(head):
    key = keys(head)["Smile"]
    key.value = 99
    assert key.value == 1.5


def test_values_are_those_of_the_sliders_that_are_not_at_rest(addon, head):
    keys(head)["Age"].value, keys(head)["Smile"].value = -2.5, 0.5
    keys(head)["Smile"].mute = True
    head.shape_key_add(name="my own").value = 1
    assert addon.sliders.slider_values(head) == {"Age": -2.5}


def test_reset_puts_sliders_at_rest_and_leaves_own_keys(head):
    keys(head)["Age"].value = 2
    own = head.shape_key_add(name="my own")
    own.value = 1
    assert bpy.ops.protome.reset_sliders() == {"FINISHED"}
    assert keys(head)["Age"].value == 0 and own.value == 1


@pytest.mark.parametrize(("expression", "value"), [("neutral", 0.0), ("photo", 1.0)])
def test_a_head_is_opened_with_the_chosen_expression_and_reset_puts_its_face_at_rest(addon, photo, expression, value):
    bpy.context.scene.protome.expression = expression
    bpy.ops.protome.invert(filepath=photo("expressive"))
    key = keys(bpy.context.object)["Photo expression"]
    assert (key.value, key.slider_min, key.slider_max) == (value, 0, 1)
    bpy.ops.protome.reset_sliders()
    assert key.value == 0


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_resynthesize_leaves_the_photo_s_expression_where_it_stands(addon, photo, value):
    """Also where that is at rest, though the head was opened as in the photo."""
    bpy.ops.protome.invert(filepath=photo("expressive"), expression="photo")
    head = bpy.context.object
    keys(head)["Photo expression"].value, keys(head)["Jaw width"].value = value, 1
    bpy.ops.protome.resynthesize()
    assert keys(head)["Photo expression"].value == value and keys(head)["Jaw width"].value == 0


def test_weights_find_the_same_place_on_a_face_that_keeps_its_expression(addon, photo):
    """The old surface with its expression is held against the new one with it, not against one at rest."""
    bpy.ops.protome.invert(filepath=photo("expressive"), expression="photo")
    head = bpy.context.object
    group = head.vertex_groups.new(name="front")
    front = [vertex.index for vertex in head.data.vertices if vertex.co.y < -1e-6]
    group.add(front, 1.0, "REPLACE")
    bpy.ops.protome.resynthesize()
    weights = [bool(vertex.groups) for vertex in head.data.vertices if abs(vertex.co.y) > 0.02]
    truth = [vertex.co.y < 0 for vertex in head.data.vertices if abs(vertex.co.y) > 0.02]
    assert weights == truth


def test_resynthesize_bakes_the_sliders_and_puts_them_at_rest(head):
    vertices, old_mesh = len(head.data.vertices), head.data.name
    keys(head)["Jaw width"].value = 2
    assert bpy.ops.protome.resynthesize() == {"FINISHED"}
    assert bpy.context.object == head and head.data.name == old_mesh
    assert len(head.data.vertices) != vertices
    assert max(vertex.co.x for vertex in head.data.vertices) == pytest.approx(0.1 * 1.2, abs=1e-4)
    assert [key.value for key in keys(head)[1:]] == [0, 0, 0]
    assert [(key.slider_min, key.slider_max) for key in keys(head)[1:]] == [(-2, 2), (-1, 1.5), (-3, 3)]
    assert json.loads(head["protome_record"])["slider_values"] == {"Jaw width": 2}


def test_the_new_surface_is_made_like_the_first(head, tmp_path):
    bpy.context.scene.protome.faces, bpy.context.scene.protome.model = 1000, "another"
    bpy.ops.protome.resynthesize()
    request = json.loads((tmp_path / "requests.jsonl").read_text().splitlines()[-1])
    assert request["params"]["settings"] == {"model": "starter", "faces": 5000, "device": "auto"}


def test_twice_adds_up(head):
    for _ in range(2):
        keys(head)["Jaw width"].value = 1
        bpy.ops.protome.resynthesize()
    assert json.loads(head["protome_record"])["slider_values"] == {"Jaw width": 2}


def test_only_one_of_each_is_left_behind(head):
    bpy.ops.protome.resynthesize()
    assert [len(kind) for kind in (bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.images)] == [1] * 4
    assert [key.name for key in keys(head)] == ["Basis", "Jaw width", "Smile", "Age"]


def test_the_user_s_placement_modifiers_and_children_stay(head):
    head.location, head.name = (1, 2, 3), "Anna"
    parent = bpy.data.objects.new("rig", None)
    child = bpy.data.objects.new("hat", None)
    for obj in (parent, child):
        bpy.context.collection.objects.link(obj)
    head.parent, child.parent = parent, head
    head.modifiers.new("Smooth", "SUBSURF")
    bpy.ops.protome.resynthesize()
    assert head.location[:] == (1, 2, 3) and head.parent == parent and child.parent == head
    assert [modifier.name for modifier in head.modifiers] == ["Smooth"]
    assert head.name == "Anna" and head.select_get()


def test_the_user_s_material_gets_the_new_texture(head):
    material = head.data.materials[0]
    material.name = "wet skin"
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 0.125
    bpy.ops.protome.resynthesize()
    assert head.data.materials[0] == material
    assert shader.inputs["Roughness"].default_value == 0.125
    image = next(node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE")
    assert image.pixels[2] > 0.7 > image.pixels[0]  # The fake worker paints resynthesized heads blue.


def test_another_head_with_the_same_material_keeps_its_texture(head):
    bpy.ops.object.duplicate()
    copy = bpy.context.object
    assert copy.data.materials[0] == head.data.materials[0]
    bpy.ops.protome.resynthesize()
    image = next(node.image for node in head.data.materials[0].node_tree.nodes if node.type == "TEX_IMAGE")
    assert copy.data.materials[0] != head.data.materials[0] and image.pixels[0] > 0.7


def test_objects_that_share_the_mesh_change_together(head):
    bpy.ops.object.duplicate(linked=True)
    bpy.ops.protome.resynthesize()
    copy = bpy.context.object
    assert copy != head and copy.data == head.data and copy["protome_record"] == head["protome_record"]


def test_vertex_groups_and_own_keys_move_to_the_new_surface(head):
    group = head.vertex_groups.new(name="top")
    top = [vertex.index for vertex in head.data.vertices if vertex.co.z > 0.05]
    group.add(top, 0.75, "REPLACE")
    own = head.shape_key_add(name="my own")
    for point in own.data:
        point.co.y += 0.05
    own.value = 0.5
    bpy.ops.protome.resynthesize()
    weights = {vertex.index: vertex.groups[0].weight for vertex in head.data.vertices if vertex.groups}
    heights = [head.data.vertices[index].co.z for index in weights]
    assert set(weights.values()) == {0.75} and min(heights) > 0.03 and len(heights) > 20
    moved = keys(head)["my own"]
    offsets = [a.co - b.co for a, b in zip(moved.data, keys(head)["Basis"].data, strict=True)]
    assert moved.value == 0.5 and all(offset[:] == pytest.approx((0, 0.05, 0), abs=1e-6) for offset in offsets)


def test_animation_and_drivers_of_the_sliders_go_on(head):
    keys(head)["Smile"].value = 1
    keys(head)["Smile"].keyframe_insert("value", frame=1)
    driver = keys(head)["Age"].driver_add("value").driver
    driver.expression = "1.25"
    other = bpy.data.objects.new("follower", None)
    reader = other.driver_add("location", 0).driver
    variable = reader.variables.new()
    variable.targets[0].id_type, variable.targets[0].id = "KEY", head.data.shape_keys
    variable.targets[0].data_path = 'key_blocks["Smile"].value'
    bpy.context.view_layer.update()
    keys(head)["Jaw width"].value = 1
    bpy.ops.protome.resynthesize()
    assert json.loads(head["protome_record"])["slider_values"] == {"Jaw width": 1}, "the others would be there twice"
    assert keys(head)["Smile"].value == 1 and keys(head)["Age"].value == 1.25
    animation = head.data.shape_keys.animation_data
    assert animation.action and animation.drivers[0].driver.expression == "1.25"
    assert variable.targets[0].id == head.data.shape_keys
    keys(head)["Smile"].value = 0
    bpy.context.scene.frame_set(1)
    assert keys(head)["Smile"].value == 1 and keys(head)["Age"].value == 1.25


def test_a_slider_that_a_strip_moves_is_not_baked_unless_its_track_is_muted(addon, head):
    for name in ("Smile", "Age"):
        keys(head)[name].value = 1
        keys(head)[name].keyframe_insert("value", frame=1)
    animation = head.data.shape_keys.animation_data
    animation.nla_tracks.new().strips.new("smiling", 1, animation.action)
    animation.action = None
    assert addon.sliders.slider_values(head) == {}
    animation.nla_tracks[0].mute = True
    assert addon.sliders.slider_values(head) == {"Smile": 1, "Age": 1}


def test_muted_sliders_stay_muted_where_they_stand(head):
    keys(head)["Smile"].value, keys(head)["Smile"].mute = 0.5, True
    bpy.ops.protome.resynthesize()
    assert keys(head)["Smile"].value == 0.5 and keys(head)["Smile"].mute
    assert json.loads(head["protome_record"])["slider_values"] == {}


def test_several_heads_keep_to_themselves(addon, head, photo):
    bpy.ops.protome.invert(filepath=photo("second"), seed=5)
    second = bpy.context.object
    keys(head)["Age"].value = 1
    before, points = head["protome_record"], len(head.data.vertices)
    bpy.ops.protome.resynthesize()
    assert (head["protome_record"], len(head.data.vertices), keys(head)["Age"].value) == (before, points, 1)
    assert json.loads(second["protome_record"])["seed"] == 5


def test_cancel_and_failure_leave_the_old_head(addon, head, monkeypatch):
    mesh, record = head.data, head["protome_record"]
    keys(head)["Age"].value = 1
    resynthesize_later(addon, head)
    bpy.ops.protome.cancel()
    pump(addon, lambda: not addon.job.session.job)
    head["protome_record"] = "{}"
    with pytest.raises(RuntimeError, match="The worker stopped unexpectedly"):
        bpy.ops.protome.resynthesize()
    head["protome_record"] = record
    assert head.data == mesh and keys(head)["Age"].value == 1


def test_a_head_renamed_during_the_job_is_found(addon, head):
    resynthesize_later(addon, head)
    head.name = "Anna"
    pump(addon, lambda: not addon.job.session.job)
    assert addon.job.session.error == "" and len(head.data.vertices) > 300


def test_a_head_deleted_during_the_job_is_not_replaced_by_another(addon, head, tmp_path):
    resynthesize_later(addon, head)
    bpy.data.objects.remove(head)
    pump(addon, lambda: not addon.job.session.job)
    assert addon.job.session.error.startswith("Zoë 1 has changed or gone") and not bpy.data.objects
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.read_bytes()[:4] == b"glTF"


def test_sliders_moved_during_the_job_stay_moved(addon, head):
    keys(head)["Jaw width"].value, keys(head)["Age"].value = 1.5, -2
    resynthesize_later(addon, head)
    keys(head)["Jaw width"].value, keys(head)["Smile"].value = 1, 0.25
    pump(addon, lambda: not addon.job.session.job)
    assert json.loads(head["protome_record"])["slider_values"] == {"Jaw width": 1.5, "Age": -2}
    assert {name: keys(head)[name].value for name in ("Jaw width", "Smile", "Age")} == {
        "Jaw width": -0.5, "Smile": 0.25, "Age": 0
    }  # fmt: skip


def test_another_file_loaded_during_the_job_stays_as_it_is(addon, head):
    resynthesize_later(addon, head)
    new_file()
    pump(addon, lambda: not addon.job.session.job)
    assert not bpy.data.objects


def test_save_and_reload_goes_on(addon, head, tmp_path):
    keys(head)["Jaw width"].value = 1.5
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    new_file()
    bpy.ops.wm.open_mainfile(filepath=path)
    head = bpy.data.objects["Zoë 1"]
    assert keys(head)["Jaw width"].value == 1.5 and keys(head)["Jaw width"].slider_max == 2
    assert addon.sliders.slider_groups(head) == ["Shape", "Expression", "Person"]
    bpy.context.view_layer.objects.active = head
    assert bpy.ops.protome.resynthesize() == {"FINISHED"}
    assert json.loads(head["protome_record"])["slider_values"] == {"Jaw width": 1.5}


def test_a_linked_head_stays_as_its_own_file_has_it(addon, head, tmp_path):
    path = str(tmp_path / "library.blend")
    bpy.data.libraries.write(path, {head})
    new_file()
    with bpy.data.libraries.load(path, link=True) as (_, wanted):
        wanted.objects = ["Zoë 1"]
    (linked,) = wanted.objects
    bpy.context.scene.collection.objects.link(linked)
    bpy.context.view_layer.objects.active = linked
    assert addon.sliders.is_head(bpy.context.object)
    for operator in (bpy.ops.protome.resynthesize, bpy.ops.protome.reset_sliders, bpy.ops.protome.adopt_head):
        assert not operator.poll()


def test_a_head_imported_as_plain_gltf_can_be_adopted(addon, head, tmp_path):
    path = str(tmp_path / "exported.glb")
    bpy.ops.export_scene.gltf(filepath=path, use_selection=True, export_extras=True)
    new_file()
    bpy.ops.import_scene.gltf(filepath=path)
    imported = bpy.context.object
    assert keys(imported)["Age"].slider_max == 1
    assert bpy.ops.protome.adopt_head() == {"FINISHED"}
    assert keys(imported)["Age"].slider_max == 3


@pytest.mark.parametrize("record", ["{}", "no JSON", '{"sliders": [{"name": "Nose"}]}'])
def test_a_damaged_record_is_named(head, record):
    head["protome_record"] = record
    with pytest.raises(RuntimeError, match="The head's record cannot be read"):
        bpy.ops.protome.adopt_head()


def test_other_objects_are_no_heads(addon, head):
    bpy.ops.mesh.primitive_cube_add()
    assert not bpy.ops.protome.resynthesize.poll() and not bpy.ops.protome.reset_sliders.poll()


def test_in_edit_mode_the_new_surface_waits(addon, head):
    bpy.ops.object.mode_set(mode="EDIT")
    resynthesize_later(addon, head)
    pump(addon, lambda: addon.job.session.job.output)
    addon.job.poll()
    points = len(head.data.vertices)
    bpy.ops.object.mode_set(mode="OBJECT")
    pump(addon, lambda: not addon.job.session.job)
    assert len(head.data.vertices) != points


def test_undo_brings_the_old_surface_back(addon, photo):
    bpy.ops.ed.undo_push(message="start")
    begin(addon, photo())
    pump(addon, lambda: not addon.job.session.job)
    points, record = len(bpy.context.object.data.vertices), bpy.context.object["protome_record"]
    keys(bpy.context.object)["Jaw width"].value = 1
    bpy.ops.ed.undo_push(message="slider")
    resynthesize_later(addon, bpy.context.object)
    pump(addon, lambda: not addon.job.session.job)
    bpy.ops.ed.undo()
    head = bpy.data.objects["Zoë 1"]
    assert (len(head.data.vertices), keys(head)["Jaw width"].value) == (points, 1)
    assert head["protome_record"] == record
    bpy.ops.ed.undo()
    bpy.ops.ed.undo()
    assert not bpy.data.objects
