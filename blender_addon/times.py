# SPDX-License-Identifier: GPL-3.0-or-later
"""How long heads take on this machine, as the worker has measured and written it; see ``backend/estimate.py``."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path


def expected_s(path: Path, device: str, kind: tuple[str, str, str]) -> float | None:
    """Seconds of a run; None where nothing is known, or the file is damaged. Cheap enough for a panel's ``draw``.

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
def _read(path: Path, _state: tuple[int, int], device: str) -> dict[str, float]:
    """Seconds by kind, once for each time that the file is written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = content["devices"][content["last"] if device == "auto" else device]["expected_s"]
        return {kind: float(seconds) for kind, seconds in known.items() if _is_duration(seconds)}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}


def _is_duration(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]
