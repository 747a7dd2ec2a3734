# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user can press. Each reads its properties, calls one function and reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from . import job
from .errors import AddonError
from .photo import chosen_photo, more_photos, photo_file, photo_folder
from .preferences import places
from .properties import EXPRESSIONS, METHODS, QUALITIES, STARTER, TEXTURES, PROTOME_PG_settings, scene_settings
from .sliders import apply_slider_ranges, is_head, recorded_settings, reset_sliders, slider_values

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

CHOICES = ("model", "method", "quality", "face", "faces", "texture", "expression", "seed")


class PROTOME_OT_invert(bpy.types.Operator):
    """Create a textured head with sliders from portrait photos of one person"""  # noqa: D415 - Blender's tooltip

    bl_idname = "protome.invert"
    bl_label = "Create Head"

    filepath: bpy.props.StringProperty(
        name="Photo", description="Picture file, the only one; empty takes the scene's choices", subtype="FILE_PATH"
    )
    model: bpy.props.StringProperty(name="Model", default=STARTER)
    method: bpy.props.EnumProperty(name="Method", items=METHODS)
    quality: bpy.props.EnumProperty(name="Quality", items=QUALITIES, default="balanced")
    face: bpy.props.IntProperty(name="Face", default=1, min=1, max=99)
    faces: bpy.props.IntProperty(name="Triangles", default=30_000, min=1_000, max=200_000)
    texture: bpy.props.EnumProperty(name="Texture", items=TEXTURES, default="2048")
    expression: bpy.props.EnumProperty(name="Expression", items=EXPRESSIONS)
    seed: bpy.props.IntProperty(name="Seed", default=0, min=0)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Say why the button is grey."""
        del context
        return _is_free(cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[OperatorReturnItems]:
        """Start the job and return at once."""
        del event
        try:
            self._start(context)
        except (AddonError, OSError) as error:
            return _refuse(self, error)
        return {"FINISHED"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """For scripts: do the whole job and return when the head is there."""
        try:
            self._start(context)
            name = job.wait()
        except (AddonError, OSError) as error:
            return _refuse(self, error)
        self.report({"INFO"}, f"Created {name}" if name else job.session.notice)
        return {"FINISHED"} if name else {"CANCELLED"}

    def _start(self, context: bpy.types.Context) -> None:
        chosen = scene_settings(context.scene)
        with job.new_folder() as folder:
            one = [photo_file(self.filepath)] if self.filepath else []
            photos = one or [chosen_photo(chosen, folder), *more_photos(chosen)]
            job.start_invert(photos, self._settings(chosen), folder)

    def _settings(self, chosen: PROTOME_PG_settings) -> dict[str, object]:
        """The backend's settings: what was given here, the scene's choice otherwise."""
        values = {name: getattr(self if self.properties.is_property_set(name) else chosen, name) for name in CHOICES}
        values["face"] = values["face"] - 1 if values["face"] > 1 else None
        values["texture_px"] = int(values.pop("texture"))
        return values


class PROTOME_OT_add_photos(bpy.types.Operator):
    """Add other photos of the same person: two or three views make a head that is right from the side as well"""  # noqa: D415

    bl_idname = "protome.add_photos"
    bl_label = "Add Photos"
    bl_options = {"REGISTER", "UNDO"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH")
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement)
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[OperatorReturnItems]:
        """Let the user choose, beginning in the first photo's folder."""
        del event
        self.directory = photo_folder(scene_settings(context.scene)) or self.directory
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Put the chosen files into the list."""
        names = [file.name for file in self.files if file.name]
        for name in names:
            scene_settings(context.scene).more_photos.add().path = str(Path(self.directory) / name)
        return {"FINISHED"} if names else {"CANCELLED"}


class PROTOME_OT_remove_photo(bpy.types.Operator):
    """Leave this photo out; the file stays"""  # noqa: D415

    bl_idname = "protome.remove_photo"
    bl_label = "Remove Photo"
    bl_options = {"REGISTER", "UNDO"}

    number: bpy.props.IntProperty(min=0)

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Take it out of the list."""
        photos = scene_settings(context.scene).more_photos
        if self.number >= len(photos):
            return {"CANCELLED"}
        photos.remove(self.number)
        return {"FINISHED"}


class PROTOME_OT_resynthesize(bpy.types.Operator):
    """Make the surface and texture anew with the sliders where they are now; animated ones go on moving it. Hand edits of the mesh are replaced"""  # noqa: D415, E501

    bl_idname = "protome.resynthesize"
    bl_label = "Resynthesize"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Say why the button is grey."""
        return _is_free(cls) and _has_head(cls, context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[OperatorReturnItems]:
        """Start the job and return at once."""
        del event
        try:
            _start_resynthesize(context)
        except (AddonError, OSError) as error:
            return _refuse(self, error)
        return {"FINISHED"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """For scripts: do the whole job and return when the new surface is there."""
        try:
            _start_resynthesize(context)
            name = job.wait()
        except (AddonError, OSError) as error:
            return _refuse(self, error)
        return {"FINISHED"} if name else {"CANCELLED"}


class PROTOME_OT_cancel(bpy.types.Operator):
    """Stop the running job; nothing in the scene changes"""  # noqa: D415

    bl_idname = "protome.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There must be something to stop."""
        del context
        return job.session.job is not None or job.session.setup is not None

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Ask for the end."""
        del context
        job.cancel()
        return {"FINISHED"}


class PROTOME_OT_reset_sliders(bpy.types.Operator):
    """Put every slider of the active head back to 0"""  # noqa: D415

    bl_idname = "protome.reset_sliders"
    bl_label = "Reset Sliders"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Say why the button is grey."""
        return _has_head(cls, context)

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Reset them."""
        reset_sliders(context.object)
        return {"FINISHED"}


class PROTOME_OT_adopt_head(bpy.types.Operator):
    """Give a head that was imported as a plain glTF file its slider ranges"""  # noqa: D415

    bl_idname = "protome.adopt_head"
    bl_label = "Use as Protome Head"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Say why the button is grey."""
        return _has_head(cls, context)

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Apply the ranges."""
        try:
            apply_slider_ranges(context.object)
        except AddonError as error:
            return _refuse(self, error)
        return {"FINISHED"}


class PROTOME_OT_set_up(bpy.types.Operator):
    """Make a Python environment for the worker: fetches PyTorch and other packages from the Python Package Index (about 1 GB, several times that with CUDA) into Protome's own folder"""  # noqa: D415, E501

    bl_idname = "protome.set_up"
    bl_label = "Set Up"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Say why the button is grey."""
        del context
        if not bpy.app.online_access:
            cls.poll_message_set("Turn on Allow Online Access in Preferences > System first")
            return False
        return _is_free(cls)

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Start it and return at once."""
        del context
        try:
            job.start_setup()
        except (AddonError, OSError) as error:
            return _refuse(self, error)
        return {"FINISHED"}


class PROTOME_OT_stop_worker(bpy.types.Operator):
    """End the worker's process, which frees its memory; the next job starts it again"""  # noqa: D415

    bl_idname = "protome.stop_worker"
    bl_label = "Free Memory"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There must be a worker, and it must be idle."""
        del context
        return job.session.worker is not None and job.session.job is None

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """End it."""
        del context
        job.stop_worker()
        return {"FINISHED"}


class PROTOME_OT_dismiss(bpy.types.Operator):
    """Hide this message"""  # noqa: D415

    bl_idname = "protome.dismiss"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Forget it."""
        del context
        job.session.error = job.session.notice = ""
        return {"FINISHED"}


class PROTOME_OT_open_log(bpy.types.Operator):
    """Open the newest log of the worker or of its set-up"""  # noqa: D415

    bl_idname = "protome.open_log"
    bl_label = "Open Log"

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Open it in the system's editor."""
        del context
        logs = [path for path in (places().worker_log, places().setup_log) if path.is_file()]
        if not logs:
            return _refuse(self, AddonError("There is no log yet."))
        bpy.ops.wm.path_open(filepath=str(max(logs, key=_modified_s)))
        return {"FINISHED"}


def _modified_s(path: Path) -> float:
    return path.stat().st_mtime


def _start_resynthesize(context: bpy.types.Context) -> None:
    obj = context.object
    with job.new_folder() as folder:
        job.start_resynthesize(obj, slider_values(obj), recorded_settings(obj), folder)


def _is_free(operator: type[bpy.types.Operator]) -> bool:
    if job.session.job or job.session.setup:
        operator.poll_message_set("Protome is busy. Wait for it, or press Cancel")
        return False
    return True


def _has_head(operator: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    obj = context.object
    if obj is None or not is_head(obj):
        operator.poll_message_set("Select a Protome head")
        return False
    if obj.library or (obj.data and obj.data.library):
        operator.poll_message_set("The head is linked from another file, which keeps it as it is. Make it local first")
        return False
    return True


def _refuse(operator: bpy.types.Operator, error: Exception) -> set[OperatorReturnItems]:
    """Show the error beside the pointer and keep it in the panel; a script gets it as RuntimeError."""
    job.session.error = str(error)
    operator.report({"ERROR"}, str(error))
    return {"CANCELLED"}


CLASSES = (
    PROTOME_OT_invert,
    PROTOME_OT_add_photos,
    PROTOME_OT_remove_photo,
    PROTOME_OT_resynthesize,
    PROTOME_OT_cancel,
    PROTOME_OT_reset_sliders,
    PROTOME_OT_adopt_head,
    PROTOME_OT_set_up,
    PROTOME_OT_stop_worker,
    PROTOME_OT_dismiss,
    PROTOME_OT_open_log,
)
