# SPDX-License-Identifier: Apache-2.0
"""A file in the making: it lies beside its place, under a name that says which process writes it."""

import os
import re
import sys
from pathlib import Path

SUFFIX = ".partial"


def partial_path(path: Path) -> Path:
    """Where this process writes what is to become a file."""
    return path.with_name(f"{path.name}.{os.getpid()}{SUFFIX}")


def remove_abandoned(folder: Path) -> list[Path]:
    """Delete files in the making whose process ended without an end, as a killed one does; returns them.

    To be called while this process writes none. One that cannot be deleted stays: Windows keeps open files so.
    """
    removed = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        writer = re.search(rf"\.(\d+){re.escape(SUFFIX)}$", path.name)
        if writer is None or _is_at_work(int(writer[1])):
            continue
        try:
            path.unlink()
        except OSError:
            continue
        removed.append(path)
    return removed


def _is_at_work(process: int) -> bool:
    """Whether another process of this number runs."""
    if process == os.getpid() or sys.platform == "win32":  # There, no signal asks without doing harm.
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # It runs, for another user.
        return True
    return True
