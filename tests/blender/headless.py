# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests need of a ``bpy`` without a window; imported once, before ``bpy``."""

import os
import tempfile
import time
from pathlib import Path

# Before bpy is imported, so that the tests never touch the developer's own Blender.
os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="protome-blender-")

import bpy

MODULE = "bl_ext.user_default.protome"


def new_file():
    """An empty file; this also resets the preferences, so the add-on is switched on again with its Python."""
    import addon_utils

    old = bpy.context.preferences.addons.get(MODULE)
    python = old.preferences.python if old and old.preferences else ""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if not addon_utils.check(MODULE)[1]:
        addon_utils.enable(MODULE, default_set=True)
    bpy.context.preferences.addons[MODULE].preferences.python = python


def pump(addon, until, timeout_s=20):
    """Take the timer's place, which never fires without a window."""
    end_s = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < end_s, "timed out"
        addon.job.poll()
        time.sleep(0.01)


def begin(addon, path):
    """Start a job the way the button does; without a window Blender would call ``execute``, which waits."""
    with addon.job.new_folder() as folder:
        addon.job.start_invert([Path(path)], {"quality": "balanced", "seed": 0}, folder)
