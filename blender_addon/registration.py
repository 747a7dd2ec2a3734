# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts Protome into Blender and takes it out again, in reverse."""

from __future__ import annotations

import bpy

from . import job, operators, panels
from .preferences import ProtomePreferences
from .properties import PROTOME_PG_head, PROTOME_PG_settings, PROTOME_PG_slider

CLASSES = (
    ProtomePreferences,
    PROTOME_PG_slider,
    PROTOME_PG_head,
    PROTOME_PG_settings,
    *operators.CLASSES,
    *panels.CLASSES,
)


def register() -> None:
    """Add classes and properties."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.protome = bpy.props.PointerProperty(type=PROTOME_PG_settings)
    bpy.types.Object.protome = bpy.props.PointerProperty(type=PROTOME_PG_head)


def unregister() -> None:
    """End the child processes, then remove properties and classes in reverse."""
    job.stop()
    del bpy.types.Object.protome
    del bpy.types.Scene.protome
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
