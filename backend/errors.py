# SPDX-License-Identifier: Apache-2.0
"""What a user can cause: each error carries a stable code and one sentence that says what to do.

ProtomeError
├── PhotoError        the picture cannot be read or holds no usable face
├── ModelError        weights are missing, damaged or of another kind
├── OutputError       a result cannot be written
├── SettingsError     an option has a value that cannot work
├── RecordError       a head carries no record, or one that cannot be used
└── Cancelled         the user asked to stop
"""

from pathlib import Path


class ProtomeError(Exception):
    """An error that the user can act on.

    Args:
        message: One or two sentences: what happened and what to do.
        code: Stable lower-case name for programs, such as ``no_face``.
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class PhotoError(ProtomeError):
    """The picture cannot be read, or shows no usable face."""

    default_code = "photo"


def missing_photo(path: Path) -> PhotoError:
    """A photo's file is not there."""
    return PhotoError(f"There is no file {path}. Check the path.", code="photo_missing")


class ModelError(ProtomeError):
    """Weights are missing, damaged or of another kind."""

    default_code = "model"


class OutputError(ProtomeError):
    """A result cannot be written."""

    default_code = "output"


class SettingsError(ProtomeError):
    """An option has a value that cannot work."""

    default_code = "settings"


class RecordError(ProtomeError):
    """A head carries no record, or one that this version cannot use."""

    default_code = "record"


class Cancelled(ProtomeError):
    """The user asked to stop."""

    default_code = "cancelled"
