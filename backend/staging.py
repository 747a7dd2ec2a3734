# SPDX-License-Identifier: Apache-2.0
"""Results are written aside and moved to their places together, so that nothing half-written is ever seen."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backend.errors import OutputError, SettingsError
from backend.output import output_error

LEAST_FREE_BYTES = 50_000_000  # About three heads of the usual size.
Write = Callable[[Path], None]
Stage = Callable[[Path, Write], None]


def check_output(path: Path, suffixes: Collection[str]) -> None:
    """Find out before minutes of work whether a result can be written.

    Raises:
        SettingsError: The suffix is not one of ``suffixes``.
        OutputError: The folder does not exist or takes no files, its disk is full, or the path is a folder.
    """
    if path.suffix.lower() not in suffixes:
        raise SettingsError(f"{path.name} must end in {' or '.join(suffixes)}.")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _make_staging_folder(path.parent).rmdir()
        if shutil.disk_usage(path.parent).free < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise output_error(path, error) from error


def check_keeps(keep: Sequence[Path], targets: Iterable[Path]) -> None:
    """Find out, best before minutes of work, whether results would replace what must stay.

    Args:
        keep: Such as the photos.
        targets: Where results go.

    Raises:
        OutputError: One of them would.
    """
    for target in targets:
        for kept in keep:
            if _is_same_file(target, kept):
                raise OutputError(
                    f"The result would replace the photo {kept.name}. Choose another name or folder for it."
                )


@contextmanager
def staging(*, keep: Sequence[Path] = ()) -> Iterator[Stage]:
    """Collect results; if the block ends well they replace the files of the same names, else none does.

    Yields:
        A function that takes the result's path and a function that writes to the path it is given, which has the
        same name in another folder. What else is written beside it moves along.

    Args:
        keep: Files that no result may replace, such as the photo.

    Raises:
        OutputError: Something cannot be written.
    """
    folders: list[tuple[Path, Path]] = []

    def stage(path: Path, write: Write) -> None:
        try:
            folder = _make_staging_folder(path.parent)
            folders.append((folder, path.parent))
            write(folder / path.name)
        except OSError as error:
            raise output_error(path, error) from error
        except OutputError as error:
            if isinstance(error.__cause__, OSError):  # It names the file in the other folder.
                raise output_error(path, error.__cause__) from error
            raise

    try:
        yield stage
        moves = [(file, target / file.name) for folder, target in folders for file in sorted(folder.iterdir())]
        check_keeps(keep, [target for _, target in moves])
        for file, target in moves:
            _replace(file, target)
    finally:
        for folder, _ in folders:
            shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove what this process has staged in the folders, before it ends without ``staging`` ending."""
    for folder in folders:
        for leftover in folder.glob(f"{_staging_prefix()}*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _staging_prefix() -> str:
    return f".protome-{os.getpid()}-"


def _make_staging_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=_staging_prefix(), dir=parent))


def _is_same_file(target: Path, kept: Path) -> bool:
    try:
        return target.samefile(kept)
    except OSError:  # One of them is not there, such as a photo on a disk that has been taken out meanwhile.
        return False


def _replace(file: Path, target: Path) -> None:
    try:
        file.replace(target)
    except OSError as error:
        raise output_error(target, error) from error
