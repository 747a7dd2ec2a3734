# SPDX-License-Identifier: Apache-2.0
"""Measures how well the template's landmark embedding fits detected landmarks on people it was not made from.

.venv/bin/python scripts/measure_landmarks.py --assets FOLDER [--portraits 40]
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.folders import starter_path  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.starter import load_starter  # noqa: E402
from backend.training.build import CPU  # noqa: E402
from backend.training.calibrate import Reprojection, reprojection_errors  # noqa: E402
from backend.training.command import portrait_parser, run_command  # noqa: E402
from backend.training.portraits import PortraitStudio  # noqa: E402
from backend.training.prepare import load_heads, prepare  # noqa: E402
from backend.training.solid import BodySolid  # noqa: E402
from backend.training.template import anchor  # noqa: E402

SEED = 1005  # The calibration's is 5.
MEANINGS = {
    "known": "true head, true camera",
    "posed": "true head, camera from the landmarks",
    "expected": "true head, camera from the landmarks, the detector's bias known",
    "fitted": "fitted head, fitted camera",
}


def main() -> int:
    """Parse the command line, measure, print."""
    parser = portrait_parser(__doc__, work=ROOT / ".build")
    parser.add_argument("--model", type=Path, default=starter_path())
    parser.add_argument("--portraits", type=int, default=40)
    options = parser.parse_args()

    def measure(log: Log) -> None:
        heads, template = load_heads(options.assets), load_starter(options.model).template
        prepared = prepare(heads, options.work, samples=CPU.shapes, components=CPU.components, seed=1, log=log)
        solid = BodySolid(heads.makehuman, prepared.parted_base)
        studio = PortraitStudio(heads.makehuman, solid, prepared.canonical, template)
        anchors, rng = anchor(solid, template.vertices), np.random.default_rng(SEED)
        found = reprojection_errors(heads, studio, anchors, portraits=options.portraits, rng=rng)
        report(found, options.portraits)

    return run_command("measure_landmarks", measure)


def report(found: list[Reprojection], portraits: int) -> None:
    """Print medians and the worst portraits."""
    print(f"{len(found)} of {portraits} portraits of other people gave landmarks")
    print("median distance to detected landmarks, in % of the distance between the eyes, and of the worst portrait:")
    for part, meaning in MEANINGS.items():
        each = 100 * np.stack([getattr(one, part) for one in found])
        print(f"{meaning}: {np.median(each):.2f} %, worst {np.median(each, axis=1).max():.2f} %")


if __name__ == "__main__":
    sys.exit(main())
