# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user added to a head moves on to its new surface.

A resynthesized surface has other vertices. Weights and own shape keys are taken from the nearest old vertex;
animation, drivers and materials are found by name.
"""

from __future__ import annotations

from collections.abc import Iterable

import bpy
import numpy as np
import numpy.typing as npt
from mathutils.kdtree import KDTree

from .sliders import mesh_of, slider_groups, slider_keys, slider_values

TEXTURE_KEY = "protome_texture"  # Marks the image that Protome made, whatever the user calls it.

Points = npt.NDArray[np.float32]


def carry_over(old: bpy.types.Object, fresh: bpy.types.Object) -> list[str]:
    """Give the fresh head what the user added to the old one.

    Returns:
        What could not be carried over, in words.
    """
    old_mesh, new_mesh = mesh_of(old), mesh_of(fresh)
    own_keys = _own_keys(old)
    if own_keys or old.vertex_groups:
        nearest = _nearest(_shown_points(old), _shown_points(fresh))
        _carry_vertex_groups(old, fresh, nearest)
        _carry_keys(own_keys, fresh, nearest)
    _carry_animation(old_mesh.shape_keys, new_mesh.shape_keys)
    _carry_materials(old_mesh, new_mesh)
    return _lost(old_mesh)


def _lost(mesh: bpy.types.Mesh) -> list[str]:
    lost = [f"UV map {layer.name}" for layer in mesh.uv_layers[1:]]
    return lost + [f"colour attribute {layer.name}" for layer in mesh.color_attributes]


def _own_keys(obj: bpy.types.Object) -> list[bpy.types.ShapeKey]:
    """Shape keys that are neither the basis nor a slider."""
    sliders = {key.name for group in slider_groups(obj) for key in slider_keys(obj, group)}
    keys = obj.data.shape_keys
    return [key for key in keys.key_blocks if key != keys.reference_key and key.name not in sliders]


def _key_points(key: bpy.types.ShapeKey) -> Points:
    points = np.empty(len(key.data) * 3, np.float32)
    key.data.foreach_get("co", points)
    return points.reshape(-1, 3)


def _shown_points(obj: bpy.types.Object) -> Points:
    """A surface with its sliders, which is what the new one replaces, or is like; object space."""
    basis = _key_points(obj.data.shape_keys.reference_key)
    points = basis.copy()
    for name, value in slider_values(obj).items():
        points += value * (_key_points(obj.data.shape_keys.key_blocks[name]) - basis)
    return points


def _nearest(old_points: Points, new_points: Points) -> npt.NDArray[np.int64]:
    """For each new point the index of the nearest old one."""
    tree = KDTree(len(old_points))
    for index, point in enumerate(old_points):
        tree.insert(point, index)
    tree.balance()
    return np.array([tree.find(point)[1] for point in new_points], np.int64)


def _carry_vertex_groups(old: bpy.types.Object, fresh: bpy.types.Object, nearest: npt.NDArray[np.int64]) -> None:
    weights = np.zeros((len(old.vertex_groups), len(old.data.vertices)))
    for vertex in old.data.vertices:
        for element in vertex.groups:
            weights[element.group, vertex.index] = element.weight
    for group in old.vertex_groups:
        new_group = fresh.vertex_groups.new(name=group.name)
        new_weights = weights[group.index][nearest]
        for index in np.flatnonzero(new_weights):
            new_group.add([int(index)], float(new_weights[index]), "REPLACE")


def _carry_keys(own_keys: list[bpy.types.ShapeKey], fresh: bpy.types.Object, nearest: npt.NDArray[np.int64]) -> None:
    basis = _key_points(fresh.data.shape_keys.reference_key)
    for key in own_keys:
        offsets = _key_points(key) - _key_points(key.relative_key)
        new_key = fresh.shape_key_add(name=key.name, from_mix=False)
        new_key.data.foreach_set("co", (basis + offsets[nearest]).ravel())
        new_key.slider_min, new_key.slider_max = key.slider_min, key.slider_max
        new_key.value, new_key.mute, new_key.vertex_group = key.value, key.mute, key.vertex_group


def _carry_animation(old: bpy.types.Key, fresh: bpy.types.Key) -> None:
    _redirect_drivers(old, fresh)
    animation = old.animation_data
    if animation is None:
        return
    new_animation = fresh.animation_data_create()
    for track in animation.nla_tracks:
        _carry_track(track, new_animation.nla_tracks.new())
    for driver in animation.drivers:
        new_animation.drivers.from_existing(src_driver=driver)
    for name in ("action", "action_slot"):  # Blender 4.4 and later have slots.
        if animation.action and hasattr(animation, name):
            setattr(new_animation, name, getattr(animation, name))


def _carry_track(track: bpy.types.NlaTrack, new_track: bpy.types.NlaTrack) -> None:
    new_track.name, new_track.mute = track.name, track.mute
    for strip in track.strips:
        new_strip = new_track.strips.new(strip.name, round(strip.frame_start), strip.action)
        for name in ("frame_start", "frame_end", "action_frame_start", "action_frame_end", "scale", "repeat"):
            setattr(new_strip, name, getattr(strip, name))
        for name in ("blend_type", "extrapolation", "influence", "mute", "use_reverse"):
            setattr(new_strip, name, getattr(strip, name))


def _redirect_drivers(old: bpy.types.Key, fresh: bpy.types.Key) -> None:
    """Drivers elsewhere that read the old shape keys read the fresh ones."""
    users = bpy.data.user_map(subset={old})[old]  # type: ignore[call-arg]  # the stubs forget the defaults
    for user in users | {old}:
        animation = getattr(user, "animation_data", None)
        for curve in animation.drivers if animation else ():
            for target in (target for variable in curve.driver.variables for target in variable.targets):
                if target.id == old:
                    target.id = fresh


def _carry_materials(old: bpy.types.Mesh, fresh: bpy.types.Mesh) -> None:
    """The user's materials with the new texture in the old one's place."""
    image = next((node.image for node in image_nodes(fresh.materials) if node.image.get(TEXTURE_KEY)), None)
    if image is None or not any(old.materials):
        return
    made = list(fresh.materials)
    fresh.materials.clear()
    for material in old.materials:
        fresh.materials.append(_with_texture(material, image))
    bpy.data.batch_remove([material for material in made if not material.users])


def _with_texture(material: bpy.types.Material | None, image: bpy.types.Image) -> bpy.types.Material | None:
    """The material with the image; a copy when another mesh uses it too."""
    nodes = [node for node in image_nodes([material]) if node.image.get(TEXTURE_KEY)]
    if not nodes or material is None:
        return material
    if material.users > 1:
        material = material.copy()
        nodes = [node for node in image_nodes([material]) if node.image.get(TEXTURE_KEY)]
    for node in nodes:
        node.image = image
    return material


def image_nodes(materials: Iterable[bpy.types.Material | None]) -> list[bpy.types.ShaderNodeTexImage]:
    """The nodes that show an image, in all these materials."""
    trees = [material.node_tree for material in materials if material and material.node_tree]
    nodes = [node for tree in trees for node in tree.nodes if isinstance(node, bpy.types.ShaderNodeTexImage)]
    return [node for node in nodes if node.image]
