# SPDX-License-Identifier: Apache-2.0
"""Writing results so that a failure leaves what was there untouched."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import OutputError

REASONS = {
    errno.ENOENT: "its folder does not exist",
    errno.ENOTDIR: "its folder is a file",
    errno.EISDIR: "it is a folder",
    errno.EACCES: "permission is missing",
    errno.EPERM: "permission is missing",
    errno.EROFS: "the disk is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENAMETOOLONG: "its name is too long",
}


def write_output(path: Path, content: bytes) -> None:
    """Put a file in place whole, or not at all.

    Raises:
        OutputError: The file cannot be written; one that was there before is unchanged.
    """
    with output_errors(path):
        _write_beside_and_replace(path, content)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """While a file is written.

    Raises:
        OutputError: It cannot be.
    """
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


def make_folder(folder: Path) -> None:
    """Make a folder for results, with those above it, before any work; it may be there.

    Raises:
        OutputError: It cannot be made.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def output_error(path: Path, error: OSError) -> OutputError:
    """The error that tells a person why a file cannot be written."""
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "unwritable"
    return OutputError(f"{path} cannot be written: {reason}. Choose another place.", code=code)


def _write_beside_and_replace(path: Path, content: bytes) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    handle, name = tempfile.mkstemp(prefix=".protome-", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_usual_mode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _usual_mode() -> int:
    """The permissions that a newly made file has; ``mkstemp`` gives fewer."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
