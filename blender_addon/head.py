# SPDX-License-Identifier: GPL-3.0-or-later
"""A head file into the scene, and a new surface under a head that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from .carry import TEXTURE_KEY, carry_over, image_nodes
from .errors import HeadError
from .sliders import RECORD_KEY, apply_slider_ranges, is_head, mesh_of, record_text

# What an importer may create; a failed or finished import leaves nothing else behind.
CREATED = (
    "scenes",
    "collections",
    "objects",
    "meshes",
    "materials",
    "images",
    "textures",
    "armatures",
    "cameras",
    "lights",
    "actions",
    "texts",
)
# The importer's options by Blender version; those that a version does not know are left out.
IMPORT_OPTIONS = {
    "import_pack_images": True,
    "merge_vertices": True,
    "import_shading": "SMOOTH",
    "import_scene_extras": False,
    "import_scene_as_collection": False,
    "import_select_created_objects": False,
    "import_webp_texture": True,
}


def check_importer() -> None:
    """Find out before minutes of work whether a head can be brought in.

    Raises:
        HeadError: Blender's glTF importer is switched off.
    """
    try:
        _importer().get_rna_type()
    except KeyError as error:
        raise HeadError(
            "Blender's glTF importer is switched off. Switch on the add-on glTF 2.0 in Preferences > Add-ons."
        ) from error


def _importer() -> Any:
    return getattr(bpy.ops.import_scene, "gltf")  # noqa: B009 - its arguments differ by version


def import_head(path: Path, name: str) -> bpy.types.Object:
    """Bring a head file into the scene, where it can be seen.

    Args:
        path: The GLB file.
        name: Wanted name of the object.

    Raises:
        HeadError: The file holds no usable head; the scene is then as it was.
    """
    with _only_what_is_taken() as taken, _visible_collection() as collection:
        obj = _import_file(path)
        _move_to(obj, collection)
        obj.rotation_mode = "XYZ"
        obj.name = obj.data.name = name
        apply_slider_ranges(obj)
        for material in obj.data.materials:
            material.name = name
        for image in _images(obj):
            image.name, image[TEXTURE_KEY] = name, True
        taken.update({obj, obj.data, *obj.data.materials, *_images(obj)})
    return obj


def replace_surface(obj: bpy.types.Object, path: Path) -> list[str]:
    """Put a resynthesized surface under the same object, its sliders as the file has them.

    Transform, parent, modifiers and materials stay; vertex groups, own shape keys, animation and drivers are carried
    over. Other objects that share the mesh get the new one too.

    Returns:
        What could not be carried over, in words.

    Raises:
        HeadError: The file holds no usable head; the old one is then as it was.
    """
    selected = [other for other in bpy.context.view_layer.objects if other.select_get()]
    active = bpy.context.view_layer.objects.active
    images = _images(obj)
    fresh = import_head(path, obj.data.name)
    lost = carry_over(obj, fresh)
    _swap_meshes(obj, fresh)
    bpy.data.objects.remove(fresh)
    bpy.data.batch_remove([image for image in images if image.get(TEXTURE_KEY) and not image.users])
    for other in selected:
        other.select_set(True)
    bpy.context.view_layer.objects.active = active
    return lost


def _swap_meshes(obj: bpy.types.Object, fresh: bpy.types.Object) -> None:
    old, mesh, record = mesh_of(obj), mesh_of(fresh), record_text(fresh)
    name, sharing = old.name, [other for other in bpy.data.objects if other.data == old]
    for other in sharing:
        other.data = mesh
        other[RECORD_KEY] = record
        apply_slider_ranges(other)
    bpy.data.meshes.remove(old)
    mesh.name = name


def select_head(obj: bpy.types.Object) -> None:
    """Make the head the only selected and the active object."""
    layer = bpy.context.view_layer
    for other in layer.objects:
        other.select_set(other == obj)
    layer.objects.active = obj


def frame_head(obj: bpy.types.Object) -> None:
    """Turn the 3D views of the current window to the selected head.

    Local views take it in, and solid shading in plain material colours, Blender's default, changes to textures.
    """
    window = bpy.context.window
    for area in window.screen.areas if window else ():
        space = area.spaces.active
        if not isinstance(space, bpy.types.SpaceView3D):
            continue
        if space.local_view:
            obj.local_view_set(space, True)
        if space.shading.color_type == "MATERIAL":
            space.shading.color_type = "TEXTURE"
        region = next((region for region in area.regions if region.type == "WINDOW"), None)
        if region and not bpy.app.background:
            with bpy.context.temp_override(window=window, area=area, region=region):
                bpy.ops.view3d.view_selected()


def _import_file(path: Path) -> bpy.types.Object:
    importer = _importer()
    before = set(bpy.data.objects)
    try:
        known = importer.get_rna_type().properties
        options = {key: value for key, value in IMPORT_OPTIONS.items() if key in known}
        importer(filepath=str(path), **options)
    except (RuntimeError, KeyError) as error:
        raise HeadError(f"Blender's glTF importer cannot read {path.name}. Is the glTF add-on enabled?") from error
    heads = [obj for obj in set(bpy.data.objects) - before if is_head(obj)]
    if len(heads) != 1:
        raise HeadError(f"{path.name} holds {len(heads)} Protome heads instead of one. Create the head again.")
    return heads[0]


@contextmanager
def _only_what_is_taken() -> Iterator[set[bpy.types.ID]]:
    """Remove what was created inside and is not in the yielded set: all of it after an error."""
    before = {kind: set(getattr(bpy.data, kind)) for kind in CREATED}
    taken: set[bpy.types.ID] = set()
    finished = False
    try:
        yield taken
        finished = True
    finally:
        kept = taken if finished else set()
        bpy.data.batch_remove([new for kind in CREATED for new in set(getattr(bpy.data, kind)) - before[kind] - kept])
        bpy.context.view_layer.update()


@contextmanager
def _visible_collection() -> Iterator[bpy.types.Collection]:
    """The user's active collection where things in it can be seen, else the scene's own; active inside."""
    layer = bpy.context.view_layer
    chosen = layer.active_layer_collection
    usable = chosen.is_visible and not chosen.exclude
    target = chosen if usable else layer.layer_collection
    layer.active_layer_collection = target
    try:
        yield target.collection
    finally:
        layer.active_layer_collection = chosen


def _move_to(obj: bpy.types.Object, collection: bpy.types.Collection) -> None:
    """Out of everything the importer put it in, in its place in the world."""
    matrix = obj.matrix_world.copy()
    obj.parent = None
    obj.matrix_world = matrix
    for other in obj.users_collection:
        other.objects.unlink(obj)
    collection.objects.link(obj)
    bpy.context.view_layer.update()


def _images(obj: bpy.types.Object) -> set[bpy.types.Image]:
    return {node.image for node in image_nodes(obj.data.materials)}
