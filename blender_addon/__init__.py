# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender side of Protome: standard library, numpy and bpy only.

Nothing is imported at module level, so that ``errors``, ``protocol``, ``pipe`` and ``client`` can be used without
Blender.
"""


def register() -> None:
    """Add classes, properties and handlers to Blender."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Remove them in reverse and end every child process."""
    from . import registration

    registration.unregister()
