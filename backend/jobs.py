# SPDX-License-Identifier: Apache-2.0
"""One job from request to files: the same functions serve the command line, the worker and the batch."""

import io
import json
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args, runtime_checkable

from backend import __version__
from backend.catalogue import find_generator
from backend.config import DeviceName, ExpressionName, MethodName, Quality, Settings
from backend.errors import ModelError, ProtomeError, SettingsError, missing_photo
from backend.progress import Progress, Report
from backend.protocol import Invert, Params, Resynthesize, Sliders
from backend.staging import check_keeps, check_output, staging
from backend.timing import Forecast, peak_rss_mb

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from backend.head import Head, HeadRecord, Slider

# By suffix of a mesh: what is written beside it under its name, see ``export.write_mesh``.
MESH_SUFFIXES: dict[str, tuple[str, ...]] = {".glb": (), ".obj": (".mtl", ".png"), ".ply": ()}
INTERNAL = "internal"
SETUP_HINT = "Run `python3 scripts/protome.py setup`, which installs what is needed."

Result = dict[str, object]
Outcome = TypeVar("Outcome")


@runtime_checkable
class Pipeline(Protocol):
    """What jobs need of ``backend.pipeline``; tests put a quick one in its place."""

    def reconstruct(self, photo_paths: Sequence[Path], settings: Settings, report: Report, /) -> "Head":
        """Turn photos of a person into a head."""
        ...

    def resynthesize(
        self, record: "HeadRecord", slider_values: dict[str, float], settings: Settings, report: Report, /
    ) -> "Head":
        """Build a head anew at other slider values."""
        ...

    def forecast(self, settings: Settings, photos: int, /) -> Forecast:
        """How long a run with so many photos will take on this machine."""
        ...

    def learn(self, settings: Settings, timings_s: Mapping[str, float], photos: int, /) -> None:
        """Keep what a finished run teaches about this machine."""
        ...


def _one_of(*choices: object) -> tuple[Callable[[object], bool], str]:
    wanted = f"one of {', '.join(map(str, choices))}"
    return lambda value: type(value) is type(choices[0]) and value in choices, wanted


def _whole(least: int, most: int) -> tuple[Callable[[object], bool], str]:
    return lambda value: type(value) is int and least <= value <= most, f"a whole number from {least} to {most}"


# By setting: whether a value can work, and what is wanted in words.
SETTING_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "model": (lambda value: isinstance(value, str) and value != "", "the name of an installed model"),
    "quality": _one_of(*get_args(Quality)),
    "method": _one_of(*get_args(MethodName)),
    "device": _one_of(*get_args(DeviceName)),
    "face": (lambda value: value is None or (type(value) is int and value >= 0), "a whole number from 0 on"),
    "faces": _whole(1_000, 200_000),
    "texture_px": _one_of(1024, 2048, 4096),
    "seed": _whole(0, 2**63 - 1),
    "expression": _one_of(*get_args(ExpressionName)),
}

LoadPipeline = Callable[[], Pipeline]


@dataclass(frozen=True)
class Failure:
    """How a job ended badly.

    Args:
        code: Stable name for programs; ``INTERNAL`` is a mistake of ours, whose traceback went to stderr.
        message: One or two sentences for people.
    """

    code: str
    message: str


def load_pipeline() -> Pipeline:
    """Import torch and the pipeline, which takes seconds.

    Raises:
        ModelError: A package is missing or does not load; the code is ``no_torch`` or ``no_package``.
    """
    try:
        import torch  # noqa: F401 - says clearly whether it is torch that is missing
    except (ImportError, OSError) as error:
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not load ({error})"
        raise ModelError(f"PyTorch {reason}. {SETUP_HINT}", code="no_torch") from error
    try:
        from backend import pipeline
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "backend":
            raise
        raise ModelError(f"The package {error.name} is not installed. {SETUP_HINT}", code="no_package") from error
    return pipeline


def find_device() -> str:
    """Name of the device that ``auto`` stands for; needs torch."""
    from backend.device import choose_device

    return choose_device("auto").type


def invert_photo(
    request: Invert,
    report: Report,
    *,
    load_pipeline: LoadPipeline,
    announce: Callable[[str], None] = lambda _: None,
) -> Result:
    """Turn photos of a person into a mesh file, and a report and a contact sheet where asked for.

    Args:
        request: What is wanted.
        report: Hears of the progress; may raise ``Cancelled``.
        load_pipeline: Called when the request is known to make sense.
        announce: Hears how long it will take, before the work starts; nothing where a photo or the model is missing.

    Returns:
        ``output``, the path written, and ``report``.

    Raises:
        ProtomeError: Nothing was written.
    """
    settings = settings_from(request.settings)
    photos, output = [Path(photo) for photo in (request.photo, *request.more_photos)], Path(request.output)
    check_keeps(photos, _checked_results(request))
    check_photos(photos)
    find_generator(settings.model)
    report(Progress("start", 0.0, None))
    pipeline = load_pipeline()
    announce(pipeline.forecast(settings, len(photos)).sentence)
    head = pipeline.reconstruct(photos, settings, report)
    report(Progress("write", 1.0, None))
    content = _content(head, settings) | {"photo_sha256": head.record.photo_sha256}
    with staging(keep=photos) as stage:
        start_s = time.perf_counter()
        stage(output, lambda path: _write_mesh(path, head))
        _finish_report(content, write_s=time.perf_counter() - start_s)  # A preview is no part of what is expected.
        if request.preview is not None:
            stage(Path(request.preview), lambda path: _write_preview(path, head))
        if request.report is not None:
            stage(Path(request.report), lambda path: _write_json(path, content))
    pipeline.learn(settings, content["timings_s"], len(photos))
    return {"output": str(output), "report": content}


def check_photos(photos: Sequence[Path]) -> None:
    """Find out before seconds of loading whether the photos are there.

    Raises:
        PhotoError: One is not.
    """
    for photo in photos:
        try:
            photo.stat()
        except FileNotFoundError as error:
            raise missing_photo(photo) from error
        except OSError:
            continue  # Reading it will say what is wrong.


def resynthesize_head(request: Resynthesize, report: Report, *, load_pipeline: LoadPipeline) -> Result:
    """Build a head anew at other slider values, with the settings it was made with unless others are given.

    Returns:
        ``output``, the path written, and ``report``.

    Raises:
        ProtomeError: Nothing was written.
    """
    record = read_record_text(request.record)
    check_slider_values(request.slider_values, record.sliders)
    settings = settings_from(_kept_settings(record.settings) | request.settings)
    output = Path(request.output)
    check_output(output, MESH_SUFFIXES)
    report(Progress("start", 0.0, None))
    head = load_pipeline().resynthesize(record, request.slider_values, settings, report)
    report(Progress("write", 1.0, None))
    content = _content(head, settings)
    with staging() as stage:
        start_s = time.perf_counter()
        stage(output, lambda path: _write_mesh(path, head))
        _finish_report(content, write_s=time.perf_counter() - start_s)
    return {"output": str(output), "report": content}


def list_sliders(request: Sliders) -> Result:
    """The sliders of a head, under ``sliders``.

    Raises:
        RecordError: The record cannot be used.
    """
    return {"sliders": [asdict(slider) for slider in read_record_text(request.record).sliders]}


def read_record_file(path: Path) -> str:
    """The record in a head's GLB as JSON text.

    Raises:
        RecordError: The file cannot be read or holds no usable record.
    """
    from backend.glb import read_record
    from backend.record import record_to_json

    return record_to_json(read_record(path))


def output_folders(request: Params) -> set[Path]:
    """Where a job writes."""
    match request:
        case Invert():
            paths = [request.output, request.report, request.preview]
        case Resynthesize():
            paths = [request.output]
        case _:
            paths = []
    return {Path(path).parent for path in paths if path is not None}


def attempt(job: Callable[[], Outcome]) -> Outcome | Failure:
    """Run a job and turn whatever ends it into a ``Failure``; an unexpected error's traceback goes to stderr."""
    try:
        return job()
    except ProtomeError as error:
        return Failure(error.code, str(error))
    except MemoryError:
        return _out_of_memory()
    except Exception as error:  # noqa: BLE001 - the one place that must outlive any mistake (STYLE.md)
        traceback.print_exc()
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which this module must not import
            return _out_of_memory()
        return Failure(INTERNAL, f"Protome made a mistake ({type(error).__name__}: {error}).")


def settings_from(values: Mapping[str, object]) -> Settings:
    """Settings by name; what is left out takes the default.

    Raises:
        SettingsError: A name is unknown or a value cannot work.
    """
    complete = asdict(Settings()) | dict(values)
    for name, value in complete.items():
        if name not in SETTING_CHECKS:
            raise SettingsError(f"There is no setting {name}.")
        is_right, wanted = SETTING_CHECKS[name]
        if not is_right(value):
            raise SettingsError(f"The setting {name} must be {wanted}, not {value}.")
    return Settings(**complete)


def check_slider_values(values: Mapping[str, float], sliders: "list[Slider]") -> None:
    """Refuse values for sliders that the head does not have, or outside their safe range.

    Raises:
        SettingsError: A name or a value cannot work.
    """
    known = {slider.name: slider for slider in sliders}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"The head has no slider {name!r}. It has {', '.join(known) or 'none'}.")
        slider = known[name]
        if not slider.minimum <= value <= slider.maximum:
            raise SettingsError(f"{name} must be between {slider.minimum:g} and {slider.maximum:g}, not {value:g}.")


def read_record_text(text: str) -> "HeadRecord":
    """A head's record from the JSON text in its GLB.

    Raises:
        RecordError: The record cannot be used.
    """
    from backend.record import record_from_json

    return record_from_json(text)


def _checked_results(request: Invert) -> list[Path]:
    """All files that an inversion writes.

    Raises:
        SettingsError: Two of them would be one, or a suffix does not fit.
        OutputError: One cannot be written.
    """
    output = Path(request.output)
    check_output(output, MESH_SUFFIXES)
    results = [output, *(output.with_suffix(suffix) for suffix in MESH_SUFFIXES[output.suffix.lower()])]
    for extra, suffix in ((request.report, ".json"), (request.preview, ".png")):
        if extra is None:
            continue
        check_output(Path(extra), [suffix])
        if Path(extra).resolve() in [result.resolve() for result in results]:
            raise SettingsError(
                f"{Path(extra).name} is also the texture beside {output.name}. Choose another name for the preview."
            )
        results.append(Path(extra))
    return results


def _kept_settings(recorded: Mapping[str, object]) -> dict[str, object]:
    """What a head's record says about the next run; the device is this computer's affair."""
    names = {item.name for item in fields(Settings)} - {"device"}
    return {name: value for name, value in recorded.items() if name in names}


def _write_mesh(path: Path, head: "Head") -> None:
    if path.suffix.lower() == ".glb":
        from backend.glb import write_glb

        write_glb(path, head)
    else:
        from backend.export import write_mesh

        write_mesh(path, head, path.suffix.lower().removeprefix("."))


def _write_preview(path: Path, head: "Head") -> None:
    from backend.preview import write_preview

    write_preview(path, head, _portrait(head))


def _portrait(head: "Head") -> "UInt8[np.ndarray, 'h w 3']":
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(head.record.portrait_jpeg)) as image:
        return np.asarray(image.convert("RGB"))


def _content(head: "Head", settings: Settings) -> dict[str, Any]:
    """The report so far, with the licence in words."""
    from backend.head import licence_note

    generator = head.record.generator
    return _finite(head.report) | {
        "settings": asdict(settings), "model": generator, "licence_note": licence_note(generator),
    }  # fmt: skip


def _finish_report(content: dict[str, Any], *, write_s: float) -> None:
    content["timings_s"] = dict(content.get("timings_s", {})) | {"write": write_s}
    content["peak_rss_mb"] = peak_rss_mb()
    content["version"] = __version__


def _finite(content: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON does not have."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # What is no Unicode in a file name becomes JSON's own escape.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _out_of_memory() -> Failure:
    return Failure(
        "memory", "The memory is not enough. Choose a smaller texture or the quality draft, or close other programs."
    )
