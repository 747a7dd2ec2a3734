# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can cause inside Blender: each message says what happened and what to do."""


class AddonError(Exception):
    """An error that the user can act on."""


class ProtocolError(AddonError):
    """The worker wrote a line that this add-on does not understand."""


class WorkerEnded(AddonError):
    """The worker's process is gone, or could not be started."""


class SetupError(AddonError):
    """The worker's Python environment is missing or could not be made."""


class PhotoError(AddonError):
    """No photo was chosen, or the chosen image cannot be handed over."""


class HeadError(AddonError):
    """A head cannot be imported, or the object is no Protome head."""
