# SPDX-License-Identifier: Apache-2.0
"""How long a head will take on this machine, told before the start.

Work is known per stage in seconds of a machine of pace 1; a short benchmark measures this machine's pace once, and
every finished run corrects the stages it went through. What is known lies in one small file beside the models, from
which the add-on also reads the times to show. A file that is damaged or of another machine is made anew.
"""

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from backend.catalogue import STARTER, installed_models
from backend.config import MethodName, Quality, Settings
from backend.device import choose_device
from backend.errors import OutputError
from backend.folders import home_folder
from backend.inversion.budget import budget_for
from backend.output import write_output
from backend.pace import Pace, measure_pace
from backend.timing import Forecast

FILE, VERSION = "times.json", 1
# Processor seconds of one thread at pace 1: the sample portrait, 2048 px, 30 000 triangles; shared out by stage as the
# report of `protome invert --sample` has them.
STAGES_S: dict[str, float] = {
    "model": 0.15, "photo": 0.05, "face": 0.65, "fit": 0.45, "surface": 5.0, "unwrap": 2.0, "texture": 7.0,
    "sliders": 0.7, "likeness": 2.0, "write": 0.6,
}  # fmt: skip
REFINE = "refine"
REFINE_S: dict[Quality, float] = {"draft": 4.5, "balanced": 30.0, "best": 120.0}
STEP_S = 0.25  # Of another method than the starter's own.
# By method: what a step on codes and one on weights or planes cost, in steps on codes.
STEP_COSTS: dict[MethodName, tuple[float, float]] = {
    "mean": (0.0, 0.0), "w": (1.0, 0.0), "w+": (1.0, 0.0), "pti": (1.0, 1.5), "spi": (1.0, 3.5),
    "e3dge": (0.0, 0.0), "triplanenet": (0.0, 0.0), "protome": (0.5, 1.5),
}  # fmt: skip
OTHER_STEPS = 4.0  # What stands beside the steps: the encoder's pass, the pictures at the end.
# What each further photo of a person costs, in costs of the first, as the reports of `protome invert` with three photos
# and with one have it: by stage and, for the starter's own refinement, by quality. Other methods see all at each step.
FURTHER_PHOTO: dict[str, float] = {"photo": 1.0, "face": 1.0, "fit": 0.5, "texture": 0.4, "likeness": 0.6}
FURTHER_REFINE: dict[Quality, float] = {"draft": 0.2, "balanced": 0.9, "best": 0.9}
NEWEST_SHARE = 0.5  # Of the last run in what is known of a stage.
MOST_RATIO = 100.0


@dataclass(frozen=True)
class Knowledge:
    """What is known of this machine.

    Args:
        device: Type of the torch device.
        machine: Names processor and threads; other ones have another pace.
        pace: Seconds that work of one second takes here.
        ratios: Measured over expected seconds, by stage and kind of run.
    """

    device: str
    machine: str
    pace: Pace
    ratios: Mapping[str, float]


def forecast(settings: Settings, photos: int) -> Forecast:
    """How long a run will take on this machine, whose pace is measured where it is not known; needs torch.

    Args:
        settings: Of the run.
        photos: Of the person.

    Raises:
        SettingsError: This computer does not have the device.
    """
    device, threads = _where(settings)
    place = f"{threads} CPU thread{'s' if threads > 1 else ''}" if device == "cpu" else device.upper()
    return Forecast(expected_s(know_machine(device, threads), settings, photos=photos), place)


def learn(settings: Settings, timings_s: Mapping[str, float], photos: int) -> None:
    """Keep what a finished run teaches about this machine.

    Args:
        settings: Of the run.
        timings_s: Seconds by stage.
        photos: Of the person.
    """
    known = know_machine(*_where(settings))
    keep(learnt(known, settings, timings_s, photos=photos))


def _where(settings: Settings) -> tuple[str, int]:
    return choose_device(settings.device).type, torch.get_num_threads()


def machine_name(threads: int) -> str:
    """What a pace holds for."""
    return f"{platform.machine()} {platform.processor()} {os.cpu_count()} cores, {threads} threads".replace("  ", " ")


def know_machine(device: str, threads: int) -> Knowledge:
    """What is known of this machine; its pace is measured where nothing is, which takes about a second.

    Args:
        device: Type of the torch device.
        threads: Of torch.
    """
    known = read_knowledge(times_path(), device)
    if known is not None and known.machine == machine_name(threads):
        return known
    ratios = {} if known is None else known.ratios
    fresh = Knowledge(device, machine_name(threads), measure_pace(device), ratios)
    keep(fresh)
    return fresh


def times_path() -> Path:
    """Where what is known lies: ``$PROTOME_TIMES``, which the add-on sets and reads, else in Protome's own folder."""
    chosen = os.environ.get("PROTOME_TIMES")
    return Path(chosen) if chosen else home_folder() / FILE


def expected_s(known: Knowledge, settings: Settings, *, photos: int = 1) -> float | None:
    """Seconds from the loaded program to the head; None for a generator that has never run here.

    Args:
        known: Of this machine.
        settings: Of the run.
        photos: Of the person.
    """
    stages = {stage: _stage_s(known, stage, settings, photos) for stage in (*STAGES_S, REFINE)}
    times = [seconds for seconds in stages.values() if seconds is not None]
    return sum(times) if len(times) == len(stages) else None


def learnt(known: Knowledge, settings: Settings, timings_s: Mapping[str, float], *, photos: int = 1) -> Knowledge:
    """What is known after a run.

    Args:
        known: Before it.
        settings: Of the run.
        timings_s: Seconds by stage; nothing is learnt from a run without all stages.
        photos: Of the person.
    """
    if not {*STAGES_S, REFINE} <= set(timings_s):
        return known
    ratios = dict(known.ratios)
    for stage in (*STAGES_S, REFINE):
        work_s = _work_s(known.pace, stage, settings, known.device, photos)
        ratio = min(max(timings_s[stage] / work_s, 1 / MOST_RATIO), MOST_RATIO)
        key = _key(stage, settings)
        before = ratios.get(key, ratio)
        ratios[key] = round(before ** (1 - NEWEST_SHARE) * ratio**NEWEST_SHARE, 4)
    return replace(known, ratios=ratios)


def _stage_s(known: Knowledge, stage: str, settings: Settings, photos: int) -> float | None:
    """Expected seconds of a stage: corrected by what the same kind of run took, else by other kinds of this model."""
    work_s = _work_s(known.pace, stage, settings, known.device, photos)
    ratio = known.ratios.get(_key(stage, settings))
    if ratio is None:
        others = [value for key, value in known.ratios.items() if key.startswith(f"{settings.model}|{stage}")]
        if not others and settings.model != STARTER:
            return None
        ratio = math.exp(sum(map(math.log, others)) / len(others)) if others else 1.0
    return work_s * ratio


def _key(stage: str, settings: Settings) -> str:
    kind = f"|{settings.method}|{settings.quality}" if stage == REFINE else ""
    return f"{settings.model}|{stage}{kind}"


def _work_s(pace: Pace, stage: str, settings: Settings, device: str, photos: int) -> float:
    """Seconds of a stage here, by the pace alone."""
    further = photos - 1
    if stage == REFINE:
        share = FURTHER_REFINE[settings.quality] if _is_own(settings) else 1.0
        return pace.refining * (1 + further * share) * _refine_s(settings, device)
    seconds = STAGES_S[stage] * (1 + further * FURTHER_PHOTO.get(stage, 0.0))
    if stage == "texture":
        seconds *= (settings.texture_px / 2048) ** 2
    if stage in ("unwrap", "sliders"):
        seconds *= (1 + 4 * settings.faces / 30_000) / 5
    return pace.other * seconds


def _is_own(settings: Settings) -> bool:
    """Whether the starter's own refinement is meant."""
    return settings.model == STARTER and settings.method == "protome"


def _refine_s(settings: Settings, device: str) -> float:
    if _is_own(settings):
        return REFINE_S[settings.quality]
    budget = budget_for(settings.method, settings.quality, device, is_light=settings.model == STARTER)
    on_codes, on_planes = STEP_COSTS[settings.method]
    return STEP_S * (OTHER_STEPS + on_codes * budget.code_steps + on_planes * budget.tune_steps)


def keep(known: Knowledge) -> None:
    """Write what is known and the times to show; where that is impossible, the next start measures again."""
    others = _read(times_path()).get("devices", {})
    devices = {**(others if isinstance(others, dict) else {}), known.device: _to_json(known)}
    content = {"version": VERSION, "last": known.device, "devices": devices}
    try:
        times_path().parent.mkdir(parents=True, exist_ok=True)
        write_output(times_path(), (json.dumps(content, indent=1) + "\n").encode())
    except (OSError, OutputError):
        return  # A head is worth more than the time it took.


def _to_json(known: Knowledge) -> dict[str, Any]:
    first, further = {}, {}
    for model in installed_models():
        for method in get_args(MethodName):
            for quality in get_args(Quality):
                settings = Settings(model=model.name, method=method, quality=quality)
                one, two = (expected_s(known, settings, photos=photos) for photos in (1, 2))
                if one is not None and two is not None:
                    kind = f"{model.name}|{method}|{quality}"
                    first[kind], further[kind] = round(one, 1), round(two - one, 1)
    return {
        "machine": known.machine, "pace": asdict(known.pace), "ratios": dict(known.ratios),
        "expected_s": first, "further_photo_s": further,
    }  # fmt: skip


def read_knowledge(path: Path, device: str) -> Knowledge | None:
    """What is known of a device; None where nothing is, or the file is damaged."""
    try:
        content = _read(path)["devices"][device]
        ratios = {str(key): _positive(value) for key, value in content["ratios"].items()}
        pace = Pace(_positive(content["pace"]["refining"]), _positive(content["pace"]["other"]))
        return Knowledge(device, str(content["machine"]), pace, ratios)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _read(path: Path) -> dict[str, Any]:
    """The file's content; nothing where it cannot be used."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("version") == VERSION else {}


def _positive(value: object) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{value!r} is no duration")
    return float(value)  # type: ignore[arg-type]
