# SPDX-License-Identifier: Apache-2.0
"""Which synthetic people the starter is judged by: numbers of a seed that training never draws, and their cameras.

The list is a file of the repository. Each item carries the hash of its photo's pixels, so that other assets, another
renderer or other people behind the numbers are noticed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from backend.camera import Camera
from backend.errors import SettingsError
from backend.output import write_output
from backend.training.framing import WIDEST_FRAME_M, Framing, lens_distance

LIST = Path(__file__).with_name("held_out.json")
SEED = 20_261_121  # Training draws its heads with other seeds: tests/unit/test_evaluation_held_out.py.
YAWS_DEG = (0.0, 30.0, -30.0, 0.0, 60.0, -60.0)
LENSES_MM = (28.0, 100.0)
PHOTO_M = 0.7  # Width of the scene that the whole photo showed at the head.


@dataclass(frozen=True)
class HeldOutHead:
    """A person and the camera of the photo.

    Args:
        number: Of the person, for the list's seed.
        yaw_deg: Of the camera to the head: 0 is in front, positive at the subject's left.
        pitch_deg: Positive from above.
        roll_deg: Positive turns the camera clockwise.
        lens_mm: Focal length on small-format film.
        frame_m: Width of the scene that the photo shows at the head.
        sha256: Of the photo's pixels; empty where it was never rendered.
    """

    number: int
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    lens_mm: float
    frame_m: float
    sha256: str = ""

    @property
    def name(self) -> str:
        """For files and tables."""
        return f"head-{self.number:02d}"

    def camera(self) -> Camera:
        """In the frame of the head, see ``truth.TruthHead``."""
        distance = lens_distance(self.lens_mm, PHOTO_M)
        return Framing(self.yaw_deg, self.pitch_deg, self.roll_deg, distance, self.frame_m).camera()


@dataclass(frozen=True)
class HeldOutList:
    """All items.

    Args:
        seed: Of the people.
        size_px: Side of the photos.
        glasses_share: Of people who wear some.
        heads: The items.
    """

    seed: int
    size_px: int
    glasses_share: float
    heads: tuple[HeldOutHead, ...]


def draw_list(numbers: Sequence[int], *, seed: int = SEED, size_px: int = 512) -> HeldOutList:
    """Items for some people, from in front and from both sides, wider and longer lenses in turns; without hashes."""
    heads = []
    for number, yaw in zip(numbers, islice(cycle(YAWS_DEG), len(numbers)), strict=True):
        rng = np.random.default_rng([seed, number, 4])
        low, high = np.log(LENSES_MM)
        heads.append(
            HeldOutHead(
                number,
                yaw,
                pitch_deg=round(float(rng.normal(0, 6)), 2),
                roll_deg=round(float(rng.normal(0, 7)), 2),
                lens_mm=round(float(np.exp(rng.uniform(low, high))), 1),
                frame_m=round(float(rng.uniform(0.34, WIDEST_FRAME_M)), 3),
            )
        )
    return HeldOutList(seed, size_px, 0.15, tuple(heads))


def write_list(path: Path, held_out: HeldOutList) -> None:
    """Write the list as JSON.

    Raises:
        OutputError: It cannot be written.
    """
    write_output(path, (json.dumps(asdict(held_out), indent=1) + "\n").encode())


def read_list(path: Path = LIST) -> HeldOutList:
    """Read what ``write_list`` wrote.

    Raises:
        SettingsError: The file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        heads = tuple(HeldOutHead(**head) for head in content.pop("heads"))
        return HeldOutList(heads=heads, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"The list of test heads {path} cannot be read: {error}. Take the repository's.") from error
