# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts Protome into Blender and takes it out again, in reverse."""

from __future__ import annotations

import bpy

from . import job, operators, panels
from .preferences import ProtomePreferences
from .properties import PROPERTY, PROTOME_PG_head, PROTOME_PG_photo, PROTOME_PG_settings, PROTOME_PG_slider

CLASSES = (
    ProtomePreferences,
    PROTOME_PG_slider,
    PROTOME_PG_head,
    PROTOME_PG_photo,
    PROTOME_PG_settings,
    *operators.CLASSES,
    *panels.CLASSES,
)
OWNERS = ((bpy.types.Scene, PROTOME_PG_settings), (bpy.types.Object, PROTOME_PG_head))


def register() -> None:
    """Add classes and properties."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    for owner, group in OWNERS:
        setattr(owner, PROPERTY, bpy.props.PointerProperty(type=group))


def unregister() -> None:
    """End the child processes, then remove properties and classes in reverse."""
    job.stop()
    for owner, _ in reversed(OWNERS):
        delattr(owner, PROPERTY)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
