# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of the Blender extension.

Nothing is imported at module level: Blender wants this file beside the manifest, but pytest and mypy see it too, and
they have no ``bpy``.
"""


def register() -> None:
    """Add Protome to Blender."""
    from . import blender_addon

    blender_addon.register()


def unregister() -> None:
    """Remove Protome from Blender and end its worker."""
    from . import blender_addon

    blender_addon.unregister()
