# SPDX-License-Identifier: Apache-2.0
"""How a long job says where it stands."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report of a running job.

    Args:
        stage: Name of the stage, such as ``refine``.
        fraction: Done share of the whole job, 0 to 1, never falling.
        eta_s: Expected seconds to the end, or None while unknown.
    """

    stage: str
    fraction: float
    eta_s: float | None


Report = Callable[[Progress], None]
Log = Callable[[str], None]  # Hears of a job's steps, a line of text each.
