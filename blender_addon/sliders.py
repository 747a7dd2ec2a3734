# SPDX-License-Identifier: GPL-3.0-or-later
"""Shape keys as sliders: their ranges, their values, their groups."""

from __future__ import annotations

import json
from collections.abc import Iterator

import bpy

from .errors import HeadError
from .properties import PROTOME_PG_slider, head_summary

RECORD_KEY = "protome_record"
LICENCE_KEY = "protome_licence"  # In words, among the object's custom properties.
ALLOWED = {"yes": "commercial use is allowed", "no": "not for commercial use"}
KEPT_SETTINGS = ("model", "method", "quality", "faces", "texture_px", "seed")
UNREADABLE = "The head's record cannot be read. Create the head again from its photo."
GROUPS = ("Shape", "Expression", "Person", "Pose", "ARKit")
PHOTO_EXPRESSION = "Photo expression"  # Stays a slider when the others are baked in.
CLOSED_GROUPS = ("ARKit",)  # 51 shapes that mostly face tracking moves.


def record_text(obj: bpy.types.Object) -> str:
    """The head's record, JSON as the worker wrote it.

    Raises:
        HeadError: The object carries none.
    """
    text = obj.get(RECORD_KEY)
    if not isinstance(text, str):
        raise HeadError(f"{obj.name} is no Protome head. Select one, or create one from a photo.")
    return text


def is_head(obj: bpy.types.Object | None) -> bool:
    """Whether the object is a head with sliders."""
    return obj is not None and obj.type == "MESH" and isinstance(obj.get(RECORD_KEY), str)


def mesh_of(obj: bpy.types.Object) -> bpy.types.Mesh:
    """The object's mesh.

    Raises:
        HeadError: It has none.
    """
    if not isinstance(obj.data, bpy.types.Mesh):
        raise HeadError(f"{obj.name} is no mesh. Select a Protome head.")
    return obj.data


def apply_slider_ranges(obj: bpy.types.Object) -> None:
    """Give each shape key the range from the record and note what panels show; Blender's importer leaves 0 to 1.

    Raises:
        HeadError: The record cannot be read, or names a shape key that is missing.
    """
    record = _parsed(record_text(obj))
    keys = _key_blocks(obj)
    summary = head_summary(obj)
    summary.sliders.clear()
    for name, group, minimum, maximum in record["sliders"]:
        if name not in keys:
            raise HeadError(f"The head file has no shape key {name!r}. Create the head again.")
        keys[name].slider_min, keys[name].slider_max = minimum, maximum
        slider = summary.sliders.add()
        slider.name, slider.group, slider.minimum, slider.maximum = name, group, minimum, maximum
    generator = record["generator"]
    summary.model, summary.licence, summary.commercial_use = generator
    allowed = ALLOWED.get(summary.commercial_use, "whether commercial use is allowed is not known")
    obj[LICENCE_KEY] = f"Made with {summary.model} ({summary.licence}): {allowed}."


def _parsed(text: str) -> dict[str, list | tuple]:
    """Slider rows and generator words of a record."""
    try:
        record = json.loads(text)
        rows = [(str(s["name"]), str(s["group"]), float(s["minimum"]), float(s["maximum"])) for s in record["sliders"]]
        generator = record["generator"]
        words = (str(generator["id"]), str(generator["licence"]), str(generator["commercial_use"]))
    except (ValueError, KeyError, TypeError) as error:
        raise HeadError(UNREADABLE) from error
    return {"sliders": rows, "generator": words}


def _key_blocks(obj: bpy.types.Object) -> dict[str, bpy.types.ShapeKey]:
    keys = mesh_of(obj).shape_keys
    return dict(keys.key_blocks.items()) if keys else {}


def recorded_settings(obj: bpy.types.Object) -> dict[str, object]:
    """The settings that the head was made with, as far as its next surface needs them.

    Raises:
        HeadError: The record cannot be read.
    """
    try:
        settings = json.loads(record_text(obj)).get("settings", {})
        return {name: settings[name] for name in KEPT_SETTINGS if name in settings}
    except (ValueError, AttributeError, TypeError) as error:
        raise HeadError(UNREADABLE) from error


def slider_keys(obj: bpy.types.Object, group: str) -> Iterator[bpy.types.ShapeKey]:
    """The shape keys of one group, in the record's order; keys the user removed are left out."""
    keys = _key_blocks(obj)
    for slider in head_summary(obj).sliders:
        if slider.group == group and slider.name in keys:
            yield keys[slider.name]


def slider_groups(obj: bpy.types.Object) -> list[str]:
    """The groups that have sliders: the known ones first, then any other."""
    found = {slider.group for slider in head_summary(obj).sliders}
    return [group for group in GROUPS if group in found] + sorted(found.difference(GROUPS))


def slider_values(obj: bpy.types.Object) -> dict[str, float]:
    """Value by name, of every slider that is not at rest, and always of the photo's expression.

    Muted keys count as at rest, and so do animated and driven ones: they go on moving whatever surface is under them.
    """
    keys, animated = _key_blocks(obj), _animated(mesh_of(obj).shape_keys) - {PHOTO_EXPRESSION}
    values = {}
    for slider in head_summary(obj).sliders:
        key = keys.get(slider.name)
        if key is None:
            continue
        value = 0.0 if key.mute or key.name in animated else key.value
        if value != 0 or slider.name == PHOTO_EXPRESSION:
            values[slider.name] = _within(value, slider)
    return values


def held_sliders(obj: bpy.types.Object, baked: dict[str, float]) -> dict[str, tuple[float, bool]]:
    """Value and mute of the sliders that are muted, animated or driven, but for those that are baked in.

    Args:
        obj: A head.
        baked: An earlier ``slider_values``.
    """
    keys, animated = _key_blocks(obj), _animated(mesh_of(obj).shape_keys) - {PHOTO_EXPRESSION}
    names = [slider.name for slider in head_summary(obj).sliders if slider.name in keys and not baked.get(slider.name)]
    return {name: (keys[name].value, keys[name].mute) for name in names if keys[name].mute or name in animated}


def hold_sliders(obj: bpy.types.Object, held: dict[str, tuple[float, bool]]) -> None:
    """Leave sliders as ``held_sliders`` found them; those that are not there are left out."""
    keys = _key_blocks(obj)
    for name in held.keys() & keys.keys():
        keys[name].value, keys[name].mute = held[name]


def _animated(keys: bpy.types.Key | None) -> set[str]:
    """Names of the shape keys whose values an action, a strip or a driver moves."""
    animation = keys.animation_data if keys else None
    if keys is None or animation is None:
        return set()
    strips = [strip for track in animation.nla_tracks if not track.mute for strip in track.strips if not strip.mute]
    sources: list[bpy.types.AnimData | bpy.types.NlaStrip] = [animation, *strips]
    curves = [*animation.drivers, *(curve for source in sources for curve in _curves(source))]
    paths = {curve.data_path for curve in curves if not curve.mute}
    return {key.name for key in keys.key_blocks if key.path_from_id("value") in paths}


def _curves(source: bpy.types.AnimData | bpy.types.NlaStrip) -> Iterator[bpy.types.FCurve]:
    """The curves of the action that is in use there."""
    action = source.action
    if action is None:
        return
    if not hasattr(action, "layers"):  # Before Blender 4.4.
        yield from action.fcurves
        return
    for strip in (strip for layer in action.layers for strip in layer.strips):
        bag = strip.channelbag(source.action_slot) if source.action_slot else None
        yield from bag.fcurves if bag else ()


def moved_since(obj: bpy.types.Object, earlier: dict[str, float]) -> dict[str, float]:
    """How far each slider was moved since it had the values of an earlier ``slider_values``."""
    now = slider_values(obj)
    return {name: now.get(name, 0.0) - earlier.get(name, 0.0) for name in now.keys() | earlier.keys()}


def move_sliders(obj: bpy.types.Object, by: dict[str, float]) -> None:
    """Move sliders from where they are, as far as their ranges let them; those that are not there are left out."""
    keys = _key_blocks(obj)
    for name in by.keys() & keys.keys():
        keys[name].value += by[name]


def _within(value: float, slider: PROTOME_PG_slider) -> float:
    return min(max(value, slider.minimum), slider.maximum)


def reset_sliders(obj: bpy.types.Object) -> None:
    """Put every slider at rest."""
    for group in slider_groups(obj):
        for key in slider_keys(obj, group):
            key.value = 0.0
