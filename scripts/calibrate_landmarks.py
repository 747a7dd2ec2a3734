# SPDX-License-Identifier: Apache-2.0
"""Measures on rendered portraits how the face mesh errs, and writes it into a starter's file; the rest stays as it is.

Run it after train_starter.py; train_encoder.py leaves portraits in a folder .build/encoder-portraits-…,
render_portraits.py makes others:

    .venv/bin/python scripts/calibrate_landmarks.py --portraits FOLDER [--model FILE] [--people 500]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.errors import SettingsError  # noqa: E402
from backend.folders import starter_path  # noqa: E402
from backend.photo_network import load_network  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.starter import load_starter, write_landmark_errors  # noqa: E402
from backend.threads import one_thread  # noqa: E402
from backend.training.command import run_command, script_parser  # noqa: E402
from backend.training.detector_errors import FACTORS, learn_errors, sight_shards  # noqa: E402


def main() -> int:
    """Parse the command line, detect, learn, write."""
    parser = script_parser(__doc__)
    parser.add_argument("--portraits", type=Path, required=True, help="folder of render_portraits.py's .npz files")
    parser.add_argument("--model", type=Path, default=starter_path(), help="the starter's file, which is written anew")
    parser.add_argument("--people", type=int, default=500, help="that many at least, if there are so many")
    options = parser.parse_args()
    return run_command(
        "calibrate_landmarks", lambda log: _calibrate(options.portraits, options.model, options.people, log)
    )


def _calibrate(portraits: Path, model: Path, people: int, log: Log) -> None:
    template, files, sightings = load_starter(model).template, sorted(portraits.glob("*.npz")), []
    with one_thread():
        for found in sight_shards(template, load_network("face_mesh"), files):
            sightings += found
            count = len({one.number for one in sightings})
            log(f"{len(sightings)} portraits of {count} people")
            if count >= people:
                break
    if len(sightings) < 2 * FACTORS:
        raise SettingsError(
            f"{portraits} shows {len(sightings)} faces; {2 * FACTORS} are needed. Render more with render_portraits.py."
        )
    write_landmark_errors(model, learn_errors(sightings))
    log(f"wrote {model}")


if __name__ == "__main__":
    sys.exit(main())
