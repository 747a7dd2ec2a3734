# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every file: the worker's Python, its device, where models lie."""

from __future__ import annotations

from pathlib import Path

import bpy

from .install import Places

# The extension's own name: this package's has one part more, which Blender does not take.
ADDON_ID = (__package__ or "").rpartition(".")[0]


class ProtomePreferences(bpy.types.AddonPreferences):
    """Settings in Blender's preferences window."""

    bl_idname = ADDON_ID

    python: bpy.props.StringProperty(
        name="Worker's Python",
        description="Interpreter that has Protome's packages; empty takes the one that Set Up makes",
        subtype="FILE_PATH",
    )
    models_folder: bpy.props.StringProperty(
        name="Models Folder",
        description="Where downloaded models lie; empty takes the user's data folder",
        subtype="DIR_PATH",
    )
    device: bpy.props.EnumProperty(
        name="Device",
        description="Where the worker computes",
        items=(
            ("auto", "Automatic", "CUDA, else Apple's GPU, else the processor"),
            ("cpu", "Processor", "Works everywhere"),
            ("cuda", "CUDA", "A graphics card from NVIDIA"),
            ("mps", "Apple GPU", "Metal on Apple silicon"),
        ),
        default="auto",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the settings and the folder they lead to."""
        del context
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "python")
        layout.prop(self, "models_folder")
        layout.prop(self, "device")
        layout.label(text=f"Environment and logs: {places().user_folder}")
        layout.label(text="Photos never leave this computer.")
        row = layout.row()
        row.operator("protome.set_up")
        row.operator("protome.open_log")


def preferences() -> ProtomePreferences:
    """The add-on's preferences."""
    return getattr(bpy.context.preferences.addons[ADDON_ID], "preferences")  # noqa: B009 - the class is ours


def places() -> Places:
    """Where this installation keeps its things."""
    chosen = preferences()
    return Places(
        chosen_python=Path(bpy.path.abspath(chosen.python)) if chosen.python else None,
        user_folder=Path(bpy.utils.extension_path_user(ADDON_ID)),
        models_folder=Path(bpy.path.abspath(chosen.models_folder)) if chosen.models_folder else None,
    )
