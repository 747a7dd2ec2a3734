# SPDX-License-Identifier: Apache-2.0
"""The two protocols as jobs: held-out heads with known truth, and a folder of real photos."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backend import __version__
from backend.batch import PHOTO_SUFFIXES
from backend.catalogue import find_generator
from backend.config import Settings
from backend.errors import SettingsError
from backend.evaluation.held_out import HeldOutHead, HeldOutList
from backend.evaluation.page import Section
from backend.evaluation.real_photo import compare_with_photo
from backend.evaluation.run import ITEMS, Job, Log, Measured
from backend.evaluation.scores import PHOTO_GOALS, SYNTHETIC_GOALS, ItemResult
from backend.evaluation.single_photo import compare
from backend.evaluation.truth import TruthHead, open_truth
from backend.folders import starter_path
from backend.head import Head
from backend.pipeline import reconstruct
from backend.progress import Progress
from backend.staging import staging
from backend.starter import load_starter
from backend.timing import peak_rss_mb
from backend.training.portrait_source import PortraitSource

MEASURES = 1  # Raised when scores change their meaning, so that older results are not mixed in.
BY_YAW = ("psnr_inside_+0", "psnr_head_40", "face_median_mm", "face_of_mean_head", "identity_excess_30", "camera_deg")


@dataclass(frozen=True)
class Bench:
    """What all items share.

    Args:
        settings: Of the main path.
        out: Folder of the results.
        log: Hears of what is out of the ordinary.
    """

    settings: Settings
    out: Path
    log: Log

    def fingerprint(self, item: dict[str, Any]) -> dict[str, Any]:
        """What a result depends on."""
        weights = find_generator(self.settings.model).path
        return {
            "item": item, "settings": asdict(self.settings), "version": __version__, "measures": MEASURES,
            "weights": sha256(weights.read_bytes()).hexdigest(),
        }  # fmt: skip

    def timed(self, photo: Path) -> tuple[Head, dict[str, float | None]]:
        """The head of a photo and what it cost; ``peak_rss_mb`` is the process's, which also measures."""
        start, start_cpu = time.perf_counter(), time.process_time()
        head = reconstruct([photo], self.settings, _silent)
        cost: dict[str, float | None] = {
            "seconds_wall": time.perf_counter() - start,
            "seconds_cpu": time.process_time() - start_cpu,
            "peak_rss_mb": peak_rss_mb(),
        }
        timings = head.report["timings_s"]
        assert isinstance(timings, dict)
        return head, cost | {f"seconds_{name}": seconds for name, seconds in timings.items()}


def held_out_jobs(bench: Bench, held_out: HeldOutList, open_source: Callable[[], PortraitSource]) -> list[Job]:
    """Jobs for the items of a list.

    Args:
        bench: Shared.
        held_out: The items.
        open_source: Called when the first item is worked on; opening takes minutes where nothing is kept.
    """
    return [
        Job(
            head.name,
            bench.fingerprint({**asdict(head), "seed": held_out.seed, "size_px": held_out.size_px}),
            lambda head=head: _held_out(bench, open_truth(open_source(), held_out, head)),  # type: ignore[misc]
        )
        for head in held_out.heads
    ]


def _held_out(bench: Bench, truth: TruthHead) -> Measured:
    photo = bench.out / "photos" / f"{truth.item.name}.png"
    photo.parent.mkdir(parents=True, exist_ok=True)
    with staging() as stage:
        stage(photo, Image.fromarray(truth.photo).save)
    head, cost = bench.timed(photo)
    compared = compare(truth, head, load_starter(starter_path()).template)
    scores = {"yaw_deg": truth.item.yaw_deg, **compared.scores, **cost}
    return Measured(scores, compared.pictures, hash_notes(truth.item, truth.photo_sha256))


def hash_notes(item: HeldOutHead, photo_sha256: str) -> list[str]:
    """A line if the photo is another one than that of the list."""
    if item.sha256 == photo_sha256:
        return []
    return [
        "The photo differs from the list's: other assets, another renderer or another computer's arithmetic. Compare "
        "these numbers only with others of the same photo."
    ]


def photo_jobs(bench: Bench, photos: list[Path]) -> list[Job]:
    """Jobs for photo files."""
    return [
        Job(
            f"photo-{photo.stem}",
            bench.fingerprint({"name": photo.name, "sha256": sha256(photo.read_bytes()).hexdigest()}),
            lambda photo=photo: _real_photo(bench, photo),  # type: ignore[misc]
        )
        for photo in photos
    ]


def _real_photo(bench: Bench, photo: Path) -> Measured:
    head, cost = bench.timed(photo)
    compared = compare_with_photo(head)
    scores = head.report["scores"]
    assert isinstance(scores, dict)
    known = {name: scores[name] for name in ("landmark_mm",) if name in scores}
    return Measured({**compared.scores, **known, **cost}, compared.pictures, [])


def find_photos(folder: Path) -> list[Path]:
    """The photos of a folder by name.

    Raises:
        SettingsError: There is no such folder, it holds none, or two differ in their suffix alone.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder. Give --photos the folder that holds the photos.")
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not photos:
        raise SettingsError(f"{folder} holds no photos ({', '.join(sorted(PHOTO_SUFFIXES))}).")
    stems = [photo.stem for photo in photos]
    if len(set(stems)) < len(stems):
        raise SettingsError(f"Two photos in {folder} differ in their suffix alone. Rename one of them.")
    return photos


def chosen_heads(held_out: HeldOutList, count: int | None) -> HeldOutList:
    """The first items of a list.

    Raises:
        SettingsError: The list does not have so many, or the number is negative.
    """
    most = len(held_out.heads)
    if count is None:
        return held_out
    if not 0 <= count <= most:
        raise SettingsError(f"The list has {most} test heads; --items must lie between 0 and {most}, not {count}.")
    return HeldOutList(held_out.seed, held_out.size_px, held_out.glasses_share, held_out.heads[:count])


def held_out_section(out: Path, results: list[ItemResult], held_out: HeldOutList) -> Section:
    """The page's part on held-out heads."""
    groups: dict[str, list[ItemResult]] = {}
    for result, head in zip(results, held_out.heads, strict=True):
        groups.setdefault(f"photo from {abs(head.yaw_deg):.0f}°", []).append(result)
    text = (
        "Synthetic people of a seed that training never draws, from the same assets and samplers as the training data: "
        "unseen identities, not unseen kinds of hair or clothes. One photo each goes through the whole main path. "
        "Rows: truth, finished mesh, its bare shape. Colours of the mesh are unlit, the truth keeps the photo's light."
    )
    return Section("Held-out heads", text, results, SYNTHETIC_GOALS, out / ITEMS, groups, BY_YAW)


def photo_section(out: Path, results: list[ItemResult]) -> Section:
    """The page's part on real photos."""
    text = (
        "First column: the photo, and below it the mesh through the photo's estimated camera; then the mesh and its "
        "bare shape. Descriptor distances below 0.6 mean the same person to dlib's network."
    )
    return Section("Real photos", text, results, PHOTO_GOALS, out / ITEMS, {}, ())


def list_with_hashes(
    held_out: HeldOutList, source: PortraitSource, log: Log, write: Callable[[np.ndarray, str], None]
) -> HeldOutList:
    """The list with the hash of each photo, which is rendered for that.

    Args:
        held_out: The items.
        source: Of the people.
        log: Hears of each.
        write: Gets each photo and the item's name.
    """
    heads = []
    for head in held_out.heads:
        truth = open_truth(source, held_out, head)
        write(truth.photo, head.name)
        heads.append(HeldOutHead(**{**asdict(head), "sha256": truth.photo_sha256}))
        log(f"{head.name}: {truth.photo_sha256[:12]}")
    return HeldOutList(held_out.seed, held_out.size_px, held_out.glasses_share, tuple(heads))


def _silent(_: Progress) -> None:
    """Hears nothing."""
