# SPDX-License-Identifier: Apache-2.0
"""Finds the numbers of backend/inversion/confidence.py: synthetic heads with known truth, some of their photos spoilt.

Run it in the project's environment with requirements-train.txt installed:

    .venv/bin/python scripts/calibrate_confidence.py --assets FOLDER --out FOLDER [--first 100] [--heads 40]

Makes a draft of each head's photo, measures its surface against the truth, and keeps one line per head in
FOLDER/heads.jsonl; interrupted, it goes on with the heads that are missing. Prints the slopes, and how the confidence
of the constants in force ranks the heads (Spearman). The people are of the evaluation's seed, which no training draws;
numbers below 12 are its test heads and stay out.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.optimize import nnls
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.config import Settings  # noqa: E402
from backend.errors import ProtomeError  # noqa: E402
from backend.evaluation.held_out import draw_list  # noqa: E402
from backend.evaluation.made import seven_landmarks  # noqa: E402
from backend.evaluation.surface_scores import surface_scores  # noqa: E402
from backend.evaluation.truth import TruthHead, open_truth  # noqa: E402
from backend.inversion.confidence import Evidence, confidence  # noqa: E402
from backend.output import make_folder  # noqa: E402
from backend.pipeline import reconstruct  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.build import CPU  # noqa: E402
from backend.training.command import portrait_parser, run_command  # noqa: E402
from backend.training.portrait_source import open_source  # noqa: E402

SPOILS = ("nothing", "nothing", "small", "covered", "side light")
CLEAR_ERROR_MM = 2.5  # Of clear frontal photos: root of face error times head error.
RIDGE = 2.0  # Heads' worth of belief that a measure tells nothing, at its usual spread.
DRAFT = Settings(quality="draft", texture_px=1024)


def main() -> int:
    """Measure what is missing, fit, print."""
    parser = portrait_parser(__doc__, work=ROOT / ".build")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--first", type=int, default=100, help="number of the first person")
    parser.add_argument("--heads", type=int, default=40, help="how many people")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.heads)

    def calibrate(log: Log) -> None:
        make_folder(options.out)
        lines = options.out / "heads.jsonl"
        rows = {row["number"]: row for row in map(json.loads, lines.read_text().splitlines())} if lines.exists() else {}
        if missing := [number for number in numbers if number not in rows]:
            held_out = draw_list(numbers)
            source = open_source(options.assets, options.work, preset=CPU, log=log)
            for head in held_out.heads:
                if head.number in missing:
                    rows[head.number] = row = measure(open_truth(source, held_out, head), options.out)
                    log(str(row))
                    with lines.open("a") as file:
                        file.write(json.dumps(row) + "\n")
        report([row for number in numbers if "error_mm" in (row := rows[number])])

    return run_command("calibrate_confidence", calibrate)


def measure(truth: TruthHead, out: Path) -> dict[str, object]:
    """Evidence and error of one head; why there is none where its photo is refused."""
    number = truth.item.number
    spoil = SPOILS[number % len(SPOILS)]
    photo = out / f"photo-{number}.png"
    Image.fromarray(spoilt(truth.photo, spoil, number)).save(photo)
    row: dict[str, object] = {"number": number, "yaw_deg": truth.item.yaw_deg, "spoilt": spoil}
    try:
        head = reconstruct([photo], DRAFT, lambda _: None)
        return row | {"evidence": head.report["evidence"], **surface_scores(truth, head.mesh, seven_landmarks(head))}
    except ProtomeError as error:
        return row | {"failure": error.code}


def spoilt(photo: UInt8[np.ndarray, "s s 3"], kind: str, number: int) -> UInt8[np.ndarray, "t t 3"]:
    """The photo as worse ones are: small and compressed, partly covered, or lit from one side."""
    rng = np.random.default_rng([77, number])
    if kind == "small":
        size = int(rng.integers(150, 260))
        jpeg = io.BytesIO()
        Image.fromarray(photo).resize((size, size), Image.Resampling.BOX).save(jpeg, "JPEG", quality=50)
        return np.asarray(Image.open(jpeg).convert("RGB"))
    y, x = np.mgrid[: len(photo), : len(photo)] / len(photo)
    if kind == "covered":
        centre = 0.5 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.2), rng.uniform(0.5, 0.65)
        color = np.array([[200, 160, 140], [60, 50, 120], [120, 80, 60]], np.uint8)[rng.integers(3)]
        angle = rng.uniform(0, np.pi)
        along = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        across = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
        is_hidden = (along / rng.uniform(0.12, 0.2)) ** 2 + (across / rng.uniform(0.05, 0.08)) ** 2 < 1
        return np.where(is_hidden[..., None], color, photo)
    if kind == "side light":
        light = 1 / (1 + np.exp(-(x - 0.5) * rng.choice([-1, 1]) * rng.uniform(8, 20)))
        return np.clip(photo * (0.15 + 1.1 * light[..., None]), 0, 255).astype(np.uint8)
    return photo


def report(rows: list[dict[str, object]]) -> None:
    """Print the slopes that fit, and how well the constants in force rank the heads."""
    evidences = [Evidence(**row["evidence"]) for row in rows]  # type: ignore[arg-type]
    errors = np.array([row["error_mm"] for row in rows], float)
    names = list(evidences[0].measures)
    measures = np.array([[evidence.measures[name] for name in names] for evidence in evidences])
    print("slopes", dict(zip(names, slopes(measures, np.log(errors / CLEAR_ERROR_MM)).round(2).tolist(), strict=True)))
    sure = [confidence(evidence) for evidence in evidences]
    for name in ("error_mm", "face_mm", "head_mm"):
        rank = spearmanr(sure, [row[name] for row in rows])
        print(f"{len(rows)} heads, confidence against {name}: Spearman {rank[0]:.2f} (p = {rank[1]:.3f})")


def slopes(measures: Float[np.ndarray, "n k"], logs: Float[np.ndarray, "n"]) -> Float[np.ndarray, "k"]:
    """Least squares with a ridge; no measure makes a head better."""
    spread = measures.std(0)
    scaled = np.concatenate([measures / spread, np.sqrt(RIDGE) * np.eye(measures.shape[1])])
    return nnls(scaled, np.concatenate([logs, np.zeros(measures.shape[1])]))[0] / spread


if __name__ == "__main__":
    sys.exit(main())
