# SPDX-License-Identifier: GPL-3.0-or-later
"""The Protome tab of the 3D view's sidebar. Panels draw and nothing else."""

from __future__ import annotations

import textwrap
from typing import Literal

import bpy

from . import install
from .job import can_import, expected_time_s, session
from .preferences import places
from .properties import STARTER, PROTOME_PG_settings, head_summary, scene_settings
from .sliders import CLOSED_GROUPS, PHOTO_EXPRESSION, is_head, slider_groups, slider_keys

Icon = Literal["ERROR", "INFO", "INTERNET", "QUESTION", "TEXT"]
OPTIONS = ("face", "model", "method", "texture", "faces", "seed")  # What most heads leave as it is.
LINE_PX = 7.5  # Width of a letter of the interface font at scale 1, on average; texts are broken at it.
STAGES = {
    "start": "Starting",
    "model": "Loading the model",
    "photo": "Reading the photo",
    "face": "Finding the face",
    "fit": "Fitting the shape",
    "refine": "Refining",
    "surface": "Making the surface",
    "unwrap": "Unwrapping",
    "texture": "Painting the texture",
    "sliders": "Making the sliders",
    "likeness": "Measuring the likeness",
    "write": "Writing the file",
}


class PROTOME_PT_create(bpy.types.Panel):
    """Photo, choices, progress and messages."""

    bl_label = "Create Head"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Protome"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what fits the moment: set-up, the choices or the running job."""
        layout = self.layout
        _draw_messages(layout, context)
        if session.setup:
            _draw_setup(layout)
        elif session.job:
            _draw_job(layout, context)
        else:
            state = install.environment_state(places())
            if state != "ready":
                _draw_first_run(layout, context, state)
            _draw_choices(layout, context)


class PROTOME_PT_head(bpy.types.Panel):
    """The active head's sliders and licence."""

    bl_label = "Active Head"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Protome"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only for a head."""
        return is_head(context.object)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what can be done with the sliders, the photo's expression, then the sliders by group."""
        layout, obj = self.layout, context.object
        summary = head_summary(obj)
        if not summary.model:
            layout.operator("protome.adopt_head", icon="IMPORT")
            return
        _draw_licence(layout, context, summary.model, summary.licence, summary.commercial_use)
        row = layout.row(align=True)
        row.operator("protome.resynthesize", icon="FILE_REFRESH")
        row.operator("protome.reset_sliders", icon="LOOP_BACK")
        layout.label(text="Colours follow with Resynthesize")
        photo_expression = obj.data.shape_keys.key_blocks.get(PHOTO_EXPRESSION) if obj.data.shape_keys else None
        if photo_expression:
            layout.prop(photo_expression, "value", text=PHOTO_EXPRESSION, slider=True)
        for group in slider_groups(obj):
            # The stubs of Blender's module lack what it returns.
            header, body = layout.panel(  # type: ignore[attr-defined]
                f"PROTOME_sliders_{group}", default_closed=group in CLOSED_GROUPS
            )
            header.label(text=group)
            if body:
                column = body.column(align=True)
                for key in slider_keys(obj, group):
                    if key.name != PHOTO_EXPRESSION:
                        column.prop(key, "value", text=key.name, slider=True)


def _draw_messages(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    if session.error:
        box = layout.box()
        text = box.column()
        text.alert = True
        _draw_text(text, context, session.error, icon="ERROR")
        row = box.row()
        row.operator("protome.open_log", icon="TEXT")
        row.operator("protome.dismiss", icon="X")
    elif session.notice:
        box = layout.box()
        for paragraph in session.notice.splitlines():
            _draw_text(box, context, paragraph, icon="INFO")
        box.operator("protome.dismiss", icon="X")


def _draw_first_run(layout: bpy.types.UILayout, context: bpy.types.Context, state: install.State) -> None:
    box = layout.box()
    if places().chosen_python:
        text = f"There is no Python at {places().chosen_python}. Correct the path in Protome's preferences."
    elif state == "outdated":
        text = "This version of Protome needs other packages. Press Set Up once more."
    else:
        text = (
            "Protome computes in a Python of its own, so that Blender stays as it is. Set Up makes it once: it fetches "
            "about 1 GB of packages from the Python Package Index (more with CUDA) and the face detection models. "
            "Photos never leave this computer."
        )
    _draw_text(box, context, text, icon="INFO")
    if not bpy.app.online_access:
        _draw_text(box, context, "Turn on Allow Online Access in Preferences > System for this.", icon="INTERNET")
    box.operator("protome.set_up", icon="IMPORT")


def _draw_setup(layout: bpy.types.UILayout) -> None:
    if session.setup:
        layout.label(text="Setting up", icon="IMPORT")
        layout.progress(factor=session.setup.fraction, text=f"{session.setup.fraction:.0%}")
        layout.label(text=session.setup.text)
        layout.operator("protome.cancel", icon="X")


def _draw_job(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    job = session.job
    if job is None:
        return
    if job.target:
        layout.label(text=f"Resynthesizing {job.title}", icon="FILE_REFRESH")
    else:
        layout.label(text=f"Creating {job.title}", icon="USER")
    if job.output and not can_import():
        _draw_text(layout, context, "The head is ready. Go back to Object Mode to bring it in.", icon="INFO")
    elif job.cancelled_s:
        layout.progress(factor=0.0, text="Cancelling")
    elif job.progress is None:
        layout.progress(factor=0.0, text="Starting the worker")
    else:
        progress = job.progress
        layout.progress(factor=progress.fraction, text=STAGES.get(progress.stage, progress.stage.capitalize()))
        if progress.eta_s is not None:
            layout.label(text=f"About {duration_text(progress.eta_s)} left", icon="TIME")
    layout.operator("protome.cancel", icon="X")


def _draw_choices(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    chosen = scene_settings(context.scene)
    layout.row().prop(chosen, "source", expand=True)
    if chosen.source == "FILE":
        layout.prop(chosen, "photo", text="", placeholder="Photo of one person")
    else:
        layout.template_ID(chosen, "image", open="image.open")
    _draw_more_photos(layout, chosen)
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(chosen, "quality")
    if chosen.model == STARTER:  # Other generators keep the photo's.
        column.prop(chosen, "expression")
    photos = 1 + sum(1 for photo in chosen.more_photos if photo.path)
    expected_s = expected_time_s(chosen.model, chosen.method, chosen.quality, photos=photos)
    takes = (
        "The first run will show how long it takes"
        if expected_s is None
        else f"Takes about {duration_text(expected_s)}"
    )
    column.label(text=takes, icon="TIME")
    model = next((model for model in session.models if model.name == chosen.model), None)
    if model:
        _draw_licence(layout, context, model.name, model.licence, model.commercial_use)
    row = layout.row()
    row.scale_y = 1.5
    row.operator("protome.invert", icon="USER").filepath = ""
    _draw_options(layout, chosen)
    if session.worker:
        layout.operator("protome.stop_worker", text=_free_memory_text())


def _draw_options(layout: bpy.types.UILayout, chosen: PROTOME_PG_settings) -> None:
    # The stubs of Blender's module lack what it returns.
    header, body = layout.panel("PROTOME_options", default_closed=True)  # type: ignore[attr-defined]
    header.label(text="Options")
    if body:
        column = body.column()
        column.use_property_split = True
        column.use_property_decorate = False
        for name in OPTIONS:
            column.prop(chosen, name)


def _draw_more_photos(layout: bpy.types.UILayout, chosen: PROTOME_PG_settings) -> None:
    column = layout.column(align=True)
    for number, photo in enumerate(chosen.more_photos):
        row = column.row(align=True)
        row.prop(photo, "path", text="")
        row.operator("protome.remove_photo", text="", icon="X").number = number
    layout.operator("protome.add_photos", text="Add Photos of This Person", icon="ADD")


def _free_memory_text() -> str:
    return f"Free Memory ({session.device})" if session.device else "Free Memory"


def _draw_licence(
    layout: bpy.types.UILayout, context: bpy.types.Context, model: str, licence: str, commercial_use: str
) -> None:
    _draw_text(layout, context, f"Model {model}, licence {licence}", icon="TEXT")
    if commercial_use == "no":
        _draw_text(layout, context, "Not for commercial use: the model's licence forbids it.", icon="ERROR")
    elif commercial_use != "yes":
        _draw_text(layout, context, "Whether commercial use is allowed is not known.", icon="QUESTION")


def _draw_text(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, *, icon: Icon) -> None:
    """Text in as many lines as the sidebar's width needs."""
    width_px = context.region.width if context.region else 240
    letters = max(20, round(width_px / (LINE_PX * (context.preferences.system.ui_scale or 1.0))) - 6)
    column = layout.column(align=True)
    for number, line in enumerate(textwrap.wrap(text, letters)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1")


def duration_text(seconds: float) -> str:
    """A duration as a person says it."""
    return f"{max(seconds, 1):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


CLASSES = (PROTOME_PT_create, PROTOME_PT_head)
