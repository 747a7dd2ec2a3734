# SPDX-License-Identifier: GPL-3.0-or-later
"""How long heads take on this machine, as the worker has measured and written it; see ``backend/estimate.py``."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path


def expected_s(path: Path, device: str, kind: tuple[str, str, str]) -> tuple[float, float] | None:
    """Seconds of a run with one photo, and of each further one; cheap enough for a panel's ``draw``.

    None where nothing is known, or the file is damaged.

    Args:
        path: What the worker writes.
        device: As the preferences have it; ``auto`` is the one of the last run.
        kind: Model, method and quality.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return _read(path, (state.st_mtime_ns, state.st_size), device).get("|".join(kind))


@lru_cache(maxsize=4)
def _read(path: Path, _state: tuple[int, int], device: str) -> dict[str, tuple[float, float]]:
    """Seconds by kind, once for each time that the file is written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = content["devices"][content["last"] if device == "auto" else device]
        further = known.get("further_photo_s", {})  # Files of earlier versions have none.
        pairs = {kind: (first, further.get(kind)) for kind, first in known["expected_s"].items() if _is_duration(first)}
        return {kind: (first, more if _is_duration(more) else first) for kind, (first, more) in pairs.items()}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}


def _is_duration(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]
