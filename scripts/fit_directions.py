# SPDX-License-Identifier: Apache-2.0
"""Finds sliders in an installed generator without labels, and keeps them beside it.

    .venv/bin/python scripts/fit_directions.py --model NAME [--samples 96] [--report sliders.csv]

Random heads are rendered and measured: a few seconds each with a full-size generator on a CPU. Heads that were made
before have the sliders of that time; make them again from their photos to get the new ones.
"""

import sys
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.catalogue import STARTER, SUBJECTS, find_generator  # noqa: E402
from backend.checkpoint.loading import load_generator  # noqa: E402
from backend.config import DeviceName  # noqa: E402
from backend.device import choose_device  # noqa: E402
from backend.errors import SettingsError  # noqa: E402
from backend.fitting.attributes import HeadMeter  # noqa: E402
from backend.fitting.fit import FitConfig, fit_directions  # noqa: E402
from backend.fitting.report import keep_sliders, write_table  # noqa: E402
from backend.inversion.plane_model import PlaneModel  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.command import run_command, script_parser  # noqa: E402


def main() -> int:
    """Parse the command line, fit, write."""
    parser = script_parser(__doc__)
    default = FitConfig()
    parser.add_argument("--model", required=True, metavar="NAME", help="an installed model, but not the starter")
    parser.add_argument("--samples", type=int, default=default.samples, help="random heads to measure, 16 at least")
    parser.add_argument("--heads", type=int, default=default.heads, help="of them, to calibrate and judge sliders on")
    parser.add_argument("--explored", type=int, default=default.explored, help="directions of SeFa, and of PCA")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--device", choices=get_args(DeviceName), default="auto")
    parser.add_argument("--report", type=Path, metavar="FILE.csv", help="also write how good the sliders are")
    options = parser.parse_args()
    config = FitConfig(options.samples, options.heads, options.explored, options.seed)
    return run_command(
        "fit_directions", lambda log: fit(options.model, config, device=options.device, report=options.report, log=log)
    )


def fit(name: str, config: FitConfig, *, device: DeviceName, report: Path | None, log: Log) -> None:
    """Fit an installed model's sliders and keep them.

    Raises:
        ProtomeError: There is no such model, or the fit or its results cannot be made.
    """
    installed = find_generator(name)
    if installed.family == STARTER:
        raise SettingsError("The starter has sliders of its own, made from its known codes.", code="starter_sliders")
    if installed.subject != SUBJECTS[0]:
        raise SettingsError(
            f"“{name}” makes {installed.subject}s; sliders are measured on faces. Its heads have the strongest "
            "directions of its weights instead.",
            code="no_faces",
        )
    generator = load_generator(installed).generator.to(choose_device(device))
    model = PlaneModel(generator)
    fitted = fit_directions(model, HeadMeter(model), config, log=log)
    if report:
        write_table(report, fitted.scores)
    path = keep_sliders(fitted, installed)
    log(f"{len(fitted.directions)} sliders, faces in {fitted.faces} of {config.samples} heads: {path}")


if __name__ == "__main__":
    sys.exit(main())
