# SPDX-License-Identifier: Apache-2.0
"""What a hand, a hat, glasses, loose hair, another person or side light in the photo does to the head made from it.

Run it in the project's environment with requirements-train.txt installed:

    .venv/bin/python benchmarks/difficult_photos.py --assets FOLDER --out FOLDER [--heads 2] [--quality draft]

Writes FOLDER/table.md (means over the heads), results.jsonl and a picture of each head. What is done is not done again.
The people are of the evaluation's seed, which no training draws; they are neither its test heads nor those of the
confidence.
"""

import json
import sys
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from jaxtyping import UInt8  # noqa: E402
from PIL import Image  # noqa: E402

from backend.config import Quality, Settings  # noqa: E402
from backend.errors import ProtomeError  # noqa: E402
from backend.evaluation.command import held_out_source, measuring_parser  # noqa: E402
from backend.evaluation.difficulties import DIFFICULTIES, Sitting, difficult_photo  # noqa: E402
from backend.evaluation.held_out import draw_list  # noqa: E402
from backend.evaluation.made import MadeHead, front_camera, seven_landmarks  # noqa: E402
from backend.evaluation.surface_scores import surface_scores  # noqa: E402
from backend.evaluation.truth import open_truth  # noqa: E402
from backend.output import make_folder  # noqa: E402
from backend.pipeline import reconstruct  # noqa: E402
from backend.progress import Log  # noqa: E402
from backend.training.command import run_command  # noqa: E402

FIRST = 200
PICTURE_PX, YAWS_DEG = 256, (0.0, 45.0, 90.0)
COLUMNS = {"face_mm": "face, mm", "head_mm": "head, mm", "outside_percent": "outside, %", "confidence": "confidence"}


def main() -> int:
    """Measure what is missing and write the table."""
    parser = measuring_parser(__doc__, work=ROOT / ".build")
    parser.add_argument("--heads", type=int, default=2, help="how many people")
    parser.add_argument("--quality", choices=get_args(Quality), default="balanced")
    options = parser.parse_args()

    def measure(log: Log) -> None:
        make_folder(options.out)
        held_out = draw_list(range(FIRST, FIRST + options.heads + 1))
        source = held_out_source(options.assets, options.work, log)
        lines = options.out / "results.jsonl"
        rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        done = {(row["head"], row["difficulty"]) for row in rows}
        for item, other in zip(held_out.heads, held_out.heads[1:], strict=False):
            missing = [name for name in DIFFICULTIES if (item.name, name) not in done]
            if not missing:
                continue
            truth, company = (open_truth(source(), held_out, one) for one in (item, other))
            sitting = Sitting(truth, company, source())
            for name in missing:
                row: dict[str, object] = {"head": item.name, "difficulty": name}
                row |= _result(sitting, name, Settings(quality=options.quality, texture_px=1024), options.out)
                rows.append(row)
                log(str(row))
                with lines.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
        (options.out / "table.md").write_text(table(rows), encoding="utf-8")

    return run_command("difficult_photos", measure)


def _result(sitting: Sitting, difficulty: str, settings: Settings, out: Path) -> dict[str, object]:
    """Scores of one head, or why there is none; its picture is written."""
    name = f"{sitting.truth.item.name}-{difficulty.replace(' ', '-')}"
    pixels = difficult_photo(sitting, difficulty)
    photo = out / f"{name}-photo.png"
    Image.fromarray(pixels).save(photo)
    try:
        head = reconstruct([photo], settings, lambda _: None)
        scores = surface_scores(sitting.truth, head.mesh, seven_landmarks(head))
    except ProtomeError as error:
        return {"failure": error.code}
    made = MadeHead(head.mesh, head.texture)
    cameras = [front_camera(head.metres_per_unit, yaw) for yaw in YAWS_DEG]
    pictures = [_small(pixels), *(made.view(camera, PICTURE_PX) for camera in cameras)]
    pictures += [made.clay(camera, PICTURE_PX) for camera in cameras]
    Image.fromarray(np.concatenate(pictures, axis=1)).save(out / f"{name}.png")
    return scores | {"confidence": head.report["scores"]["confidence"]}  # type: ignore[index]


def _small(photo: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "p p 3"]:
    return np.asarray(Image.fromarray(photo).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BOX))


def table(rows: list[dict[str, object]]) -> str:
    """Means over the heads for each difficulty; a photo that was refused is counted, not averaged."""
    lines = ["| in the photo | heads | refused | " + " | ".join(COLUMNS.values()) + " |"]
    lines.append("| --- |" + " ---: |" * (2 + len(COLUMNS)))
    for name in DIFFICULTIES:
        of_it = [row for row in rows if row["difficulty"] == name]
        made = [row for row in of_it if "failure" not in row]
        means = [np.mean([float(row[key]) for row in made]) if made else np.nan for key in COLUMNS]  # type: ignore[arg-type]
        numbers = " | ".join("–" if np.isnan(mean) else f"{mean:.2f}" for mean in means)
        lines.append(f"| {name} | {len(of_it)} | {len(of_it) - len(made)} | {numbers} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
