# SPDX-License-Identifier: Apache-2.0
"""All photos of a folder, one after the other; what is done is kept, whatever happens to the rest."""

import csv
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backend import __version__
from backend.catalogue import find_generator
from backend.config import Settings
from backend.errors import ProtomeError, SettingsError
from backend.jobs import Failure, LoadPipeline, Result, attempt, invert_photo
from backend.output import make_folder, write_output
from backend.progress import Report
from backend.protocol import Invert

PHOTO_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
SUMMARY = "summary.csv"
SHARED_REASONS = frozenset(
    {
        *("no_torch", "no_package", "no_device", "no_encoder", "disk_full"),
        *("model_missing", "model_damaged", "unknown_model", "unknown_method"),
    }
)


@dataclass(frozen=True)
class Item:
    """One photo, or the photos of one person, and where the results go.

    Args:
        name: For people: where the photo, or the person's folder, lies in the batch's folder.
        photo: The main one.
        output: The head.
        more_photos: Of the same person.
    """

    name: str
    photo: Path
    output: Path
    more_photos: tuple[Path, ...] = ()

    @property
    def report(self) -> Path:
        """The JSON report, which also remembers what the output was made from."""
        return self.output.with_suffix(".json")


@dataclass(frozen=True)
class Outcome:
    """A line of the summary.

    Args:
        item: The photo.
        status: ``done``, ``skipped`` (was done before) or ``failed``.
        scores: Of the head, by name.
        failure: Why it failed.
        seconds: Spent on this photo in this run.
        notes: Of the head's report, such as on photos that were left out.
    """

    item: Item
    status: str
    scores: dict[str, float]
    failure: Failure | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def find_items(folder: Path, out: Path, *, suffix: str, is_recursive: bool) -> list[Item]:
    """The photos of a folder in the order of their names, and an output for each.

    Photos that differ only in their suffix keep it in the output's name. What lies below ``out`` is left out.

    Raises:
        SettingsError: The folder does not exist, holds no photo, or is also the output folder.
    """
    if not folder.is_dir():
        raise SettingsError(f"There is no folder {folder}. Choose a folder with photos.")
    if out.resolve() == folder.resolve():
        raise SettingsError("The heads would lie among the photos. Choose another folder with --out.")
    try:
        photos = sorted(_find_photos(folder, is_recursive=is_recursive))
    except OSError as error:
        raise SettingsError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    photos = [photo for photo in photos if out.resolve() not in photo.resolve().parents]
    if not photos:
        raise SettingsError(f"{folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))}).")
    names = [photo.relative_to(folder).with_suffix("") for photo in photos]
    counts = Counter(str(name).casefold() for name in names)
    items = []
    for photo, name in zip(photos, names, strict=True):
        is_alone = counts[str(name).casefold()] == 1
        stem = name.name if is_alone else photo.name
        items.append(Item(str(photo.relative_to(folder)), photo, out / name.parent / f"{stem}{suffix}"))
    return items


def find_people(folder: Path, out: Path, *, suffix: str) -> list[Item]:
    """The people of a folder: each folder in it holds the photos of one, in the order of their names.

    Raises:
        SettingsError: The folder does not exist, or holds no folder with photos.
    """
    if not folder.is_dir():
        raise SettingsError(f"There is no folder {folder}. Choose a folder that holds a folder for each person.")
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.resolve() != out.resolve())
        inside = [path for path in inside if not path.name.startswith(".")]
        people = [(person, sorted(_find_photos(person, is_recursive=False))) for person in inside]
    except OSError as error:
        raise SettingsError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    items = [
        Item(f"{person.name}/", photos[0], out / f"{person.name}{suffix}", tuple(photos[1:]))
        for person, photos in people
        if photos
    ]
    if not items:
        raise SettingsError(f"{folder} holds no folder with photos ({', '.join(sorted(PHOTO_SUFFIXES))}).")
    return items


def loose_photos(folder: Path) -> list[Path]:
    """Photos beside the people's folders, of which ``find_people`` cannot tell whose they are."""
    return sorted(_find_photos(folder, is_recursive=False))


def run_batch(
    items: list[Item],
    out: Path,
    settings: Settings,
    *,
    load_pipeline: LoadPipeline,
    report_of: Callable[[int], Report],
    announce: Callable[[int, Outcome], None],
    say: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Invert each photo that is not done; the summary in ``out`` is rewritten after each.

    Args:
        items: From ``find_items``; counted from 1 for the two functions below.
        out: Folder of the summary; created where it does not exist.
        settings: For all photos.
        load_pipeline: Quick after its first call.
        report_of: The report that gets a photo's progress.
        announce: Gets each photo's outcome.
        say: Hears how long it will take, before the work starts.

    Raises:
        OutputError: A folder cannot be made or the summary cannot be written.
        ProtomeError: A photo failed for a reason that all others share.
    """
    earlier = [_earlier_outcome(item, settings) for item in items]
    if missing := [item for item, outcome in zip(items, earlier, strict=True) if outcome is None]:
        say(f"{len(missing)} of {len(items)} to do. {_forecast(missing, settings, load_pipeline)}".rstrip())
    outcomes: list[Outcome] = []
    for number, (item, done) in enumerate(zip(items, earlier, strict=True), start=1):
        make_folder(item.output.parent)
        start_s = time.perf_counter()
        outcome = done or _invert(item, settings, load_pipeline, report_of(number))
        outcomes.append(replace(outcome, seconds=time.perf_counter() - start_s))
        write_output(out / SUMMARY, _summary(outcomes))
        announce(number, outcomes[-1])
        if outcome.failure and outcome.failure.code in SHARED_REASONS:
            raise ProtomeError(outcome.failure.message, code=outcome.failure.code)
    return outcomes


def _forecast(items: list[Item], settings: Settings, load_pipeline: LoadPipeline) -> str:
    """How long the items will take, in words; empty where something is missing, which the first of them tells."""
    try:
        pipeline = load_pipeline()
        forecasts = [pipeline.forecast(settings, 1 + len(item.more_photos)) for item in items]
    except ProtomeError:
        return ""
    seconds = [forecast.seconds for forecast in forecasts]
    return replace(forecasts[0], seconds=None if None in seconds else sum(filter(None, seconds))).sentence


def _find_photos(folder: Path, *, is_recursive: bool) -> Iterator[Path]:
    for path in folder.rglob("*") if is_recursive else folder.iterdir():
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in PHOTO_SUFFIXES and not is_hidden and path.is_file():
            yield path


def _earlier_outcome(item: Item, settings: Settings) -> Outcome | None:
    """What an earlier run made of the same photo by the same settings, weights and version, if it is still there."""
    from backend.head import photos_sha256

    if not item.output.is_file():
        return None
    try:
        content = json.loads(item.report.read_text(encoding="utf-8"))
        photo_sha256 = photos_sha256([_sha256(photo) for photo in (item.photo, *item.more_photos)])
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("photo_sha256") != photo_sha256:
        return None
    if content.get("version") != __version__ or not _is_of_model(content.get("model"), settings.model):
        return None
    if not _are_same_but_for_device(content.get("settings"), asdict(settings)):
        return None
    return Outcome(item, "skipped", _scores(content), notes=_notes(content))


def _is_of_model(generator: Any, name: str) -> bool:
    """Whether a head was made by the weights that are installed under a name now."""
    try:
        return isinstance(generator, dict) and generator.get("id") == find_generator(name).metadata.get("id")
    except ProtomeError:
        return False


def _sha256(photo: Path) -> str:
    with photo.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _are_same_but_for_device(earlier: Any, settings: dict[str, object]) -> bool:
    return isinstance(earlier, dict) and earlier | {"device": None} == settings | {"device": None}


def _invert(item: Item, settings: Settings, load_pipeline: LoadPipeline, report: Report) -> Outcome:
    more = [str(photo) for photo in item.more_photos]
    request = Invert(str(item.photo), str(item.output), asdict(settings), str(item.report), None, more)

    def job() -> Result:
        return invert_photo(request, report, load_pipeline=load_pipeline)

    result = attempt(job)
    if isinstance(result, Failure):
        return Outcome(item, "failed", {}, failure=result)
    return Outcome(item, "done", _scores(result["report"]), notes=_notes(result["report"]))


def _scores(content: Any) -> dict[str, float]:
    scores = content.get("scores")
    if not isinstance(scores, dict):
        return {}
    return {name: value for name, value in scores.items() if isinstance(value, int | float)}


def _notes(content: Any) -> tuple[str, ...]:
    notes = content.get("notes")
    return tuple(map(str, notes)) if isinstance(notes, list) else ()


def _summary(outcomes: list[Outcome]) -> bytes:
    """The outcomes as CSV, UTF-8 with a mark by which spreadsheets know it."""
    names = sorted({name for outcome in outcomes for name in outcome.scores})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["photo", "status", "output", "seconds", *names, "reason", "notes"])
    for outcome in outcomes:
        failure = outcome.failure
        output = "" if failure else outcome.item.output
        scores = [outcome.scores.get(name, "") for name in names]
        reason = failure.message if failure else ""
        spent, notes = f"{outcome.seconds:.2f}", " ".join(outcome.notes)
        writer.writerow([outcome.item.photo, outcome.status, output, spent, *scores, reason, notes])
    return text.getvalue().encode("utf-8-sig", "backslashreplace")
