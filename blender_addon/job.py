# SPDX-License-Identifier: GPL-3.0-or-later
"""The running job: one worker, one job at a time, moved on by ``poll`` from Blender's timer.

Everything runs on the main thread. Objects are remembered by name and looked up again, because undo and file loading
replace what a reference points at.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import bpy

from . import install, protocol, times
from .client import Worker
from .errors import AddonError, HeadError, ProtocolError, WorkerEnded
from .head import check_importer, frame_head, import_head, replace_surface, select_head
from .preferences import places, preferences
from .properties import OWN_METHOD, STARTER, model_names
from .sliders import RECORD_KEY, held_sliders, hold_sliders, is_head, move_sliders, moved_since

BUSY_INTERVAL_S = 0.05
READY_TIMEOUT_S = 60.0
CANCEL_TIMEOUT_S = 3.0
HOW_TO_IMPORT = "File > Import > glTF 2.0 and Use as Protome Head bring it in."
# Expected seconds of the starter and its own method on two processor cores, until a job of this session says better.
EXPECTED_S = {"draft": 20.0, "balanced": 60.0, "best": 120.0}


Kind = tuple[str, str, str]


@dataclass
class Job:
    """A request that the worker has, and what will be done with its result.

    Args:
        id: Of the request.
        title: What the panel shows, such as the photo's name.
        folder: Temporary folder of its files; removed at the end.
        kind: Model, method and quality of an inversion of one photo; None for anything else.
        target: Name of the head whose surface is replaced; empty where a head is made.
        record: The target's record when the job began.
        baked: The slider values that its new surface has in it.
        notes: What the worker has to say of the head that has arrived, and how far it can be relied on.
        took_s: Until the worker was done; the head may have to wait longer for the user.
    """

    id: int
    title: str
    folder: Path
    kind: Kind | None = None
    target: str = ""
    record: str = ""
    baked: dict[str, float] = field(default_factory=dict)
    progress: protocol.Progress | None = None
    output: Path | None = None
    notes: tuple[str, ...] = ()
    took_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)
    cancelled_s: float | None = None


@dataclass
class Session:
    """What runs besides Blender; never saved.

    Args:
        models: What the worker last said it has.
        device: Where the worker computes; empty until torch is loaded.
        error: What went wrong, until the user dismisses it.
        notice: What happened otherwise, a paragraph a line.
        last_head: Name of the object that the last job made or changed.
        measured_s: How long an inversion took in this session, by model, method and quality.
    """

    worker: Worker | None = None
    job: Job | None = None
    setup: install.Setup | None = None
    is_ready: bool = False
    models: tuple[protocol.Model, ...] = ()
    device: str = ""
    error: str = ""
    notice: str = ""
    last_head: str = ""
    measured_s: dict[Kind, float] = field(default_factory=dict)


session = Session()


@contextmanager
def new_folder() -> Iterator[Path]:
    """A temporary folder for the files of one job, which is started inside; gone if that fails."""
    folder = Path(tempfile.mkdtemp(prefix="protome-", dir=bpy.app.tempdir or None))
    try:
        yield folder
    except (AddonError, OSError):
        shutil.rmtree(folder, ignore_errors=True)
        raise


def start_invert(photos: Sequence[Path], settings: dict[str, object], folder: Path) -> None:
    """Ask the worker for a head.

    Args:
        photos: The picture files of one person, the main one first.
        settings: Fields of the backend's ``Settings``, without the device.
        folder: From ``new_folder``.

    Raises:
        AddonError: A job is running, or the worker cannot be started.
    """
    wanted = {**settings, "device": preferences().device}
    first, *others = map(str, photos)
    params = protocol.invert_params(first, str(folder / "head.glb"), wanted, report=None, more_photos=others)
    # How long several photos take says nothing of how long one does.
    kind = (str(settings.get("model", STARTER)), str(settings.get("method", OWN_METHOD)), str(settings["quality"]))
    _start("invert", params, Job(0, photos[0].stem, folder, kind=None if others else kind))


def expected_time_s(model: str, method: str, quality: str, *, photos: int) -> float | None:
    """Seconds that an inversion will take: as in this session, as the worker has measured, or as is usual.

    None where nothing is known yet.
    """
    kind = (model, method, quality)
    usual_s = EXPECTED_S[quality] if (model, method) == (STARTER, OWN_METHOD) else None
    known_s, further_s = times.expected_s(places().times, preferences().device, kind) or (usual_s, usual_s)
    first_s = session.measured_s.get(kind, known_s)
    further_share = further_s / known_s if further_s and known_s else 1.0
    return None if first_s is None else first_s * (1 + (photos - 1) * further_share)


def start_resynthesize(
    obj: bpy.types.Object, slider_values: dict[str, float], settings: dict[str, object], folder: Path
) -> None:
    """Ask the worker for a new surface under a head, its sliders baked in.

    Raises:
        AddonError: A job is running, or the worker cannot be started.
    """
    record, output = obj[RECORD_KEY], str(folder / "head.glb")
    wanted = {**settings, "device": preferences().device}
    params = protocol.resynthesize_params(record, slider_values, output=output, settings=wanted)
    _start("resynthesize", params, Job(0, obj.name, folder, target=obj.name, record=record, baked=slider_values))


def _start(method: str, params: dict[str, object], job: Job) -> None:
    if session.job or session.setup:
        raise AddonError("Protome is busy. Wait for it, or press Cancel.")
    check_importer()
    if session.worker is None or session.worker.process.poll() is not None:
        stop_worker()
        session.worker = Worker(install.worker_command(places()))
    session.error = session.notice = ""
    job.id = session.worker.send(method, params)
    session.job = job
    start_timer()


def cancel() -> None:
    """Ask the worker to stop; one that does not answer soon is ended."""
    if session.setup:
        session.setup.close()
        session.setup = None
        session.notice = "The set-up was stopped. Set Up goes on where it was."
    job = session.job
    if job and job.output:
        _end_job(notice="The head was dropped.")
    elif job and session.worker and job.cancelled_s is None:
        job.cancelled_s = time.monotonic()
        session.worker.send("cancel", {"job": job.id})


def start_setup() -> None:
    """Make the worker's environment in a child process.

    Raises:
        AddonError: No Python for it was found, or Protome is busy.
    """
    if session.job or session.setup:
        raise AddonError("Protome is busy. Wait for it, or press Cancel.")
    stop_worker()
    session.error = session.notice = ""
    session.setup = install.Setup(places(), install.base_python())
    start_timer()


def start_timer() -> None:
    """Let Blender call ``poll`` until there is nothing to wait for."""
    if not bpy.app.timers.is_registered(poll):
        bpy.app.timers.register(poll, first_interval=BUSY_INTERVAL_S, persistent=True)


def poll() -> float | None:
    """Move everything on without waiting; seconds to the next call, or None when nothing runs."""
    shown, is_understood = _shown(), False
    try:
        _step()
        is_understood = True
    finally:
        if not is_understood:
            _fail("Protome met an error of its own; Blender's console says where. Try again.", worker_is_lost=True)
        if _shown() != shown:
            redraw()
    return BUSY_INTERVAL_S if session.job or session.setup else None


def _shown() -> tuple[object, ...]:
    """What panels show of the session: drawn at every poll, they would take a machine without a GPU from the worker."""
    job, setup = session.job, session.setup
    return (
        job and (job.id, job.progress, job.output, job.cancelled_s),
        setup and (setup.fraction, setup.text),
        *(session.worker, session.models, session.device, session.error, session.notice),
    )


def _step() -> None:
    try:
        _poll_setup()
        _poll_worker()
        _finish_job()
    except AddonError as error:
        _fail(str(error), worker_is_lost=isinstance(error, (WorkerEnded, ProtocolError)))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'a file'}. Free some space or check permissions.")


def wait() -> str:
    """Poll until the job has ended, for scripts; returns the head's name.

    Raises:
        AddonError: The job failed; what went wrong and what to do.
    """
    session.last_head = ""
    while session.job:
        if session.job.output and bpy.context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        poll()
        time.sleep(BUSY_INTERVAL_S / 5)
    if session.error:
        raise AddonError(session.error)
    return session.last_head


def _poll_setup() -> None:
    if session.setup is None:
        return
    try:
        finished = session.setup.poll()
    except AddonError:
        session.setup = None
        raise
    if finished:
        session.setup = None
        session.notice = "Protome is set up."


def _poll_worker() -> None:
    worker, job = session.worker, session.job
    if worker is None or (job and job.output):
        return
    for event in worker.receive():
        _take(event)
    if not session.is_ready and time.monotonic() - worker.started_s > READY_TIMEOUT_S:
        raise WorkerEnded("The worker does not answer. Try again; the log says more.")
    if job and session.job and job.cancelled_s and time.monotonic() - job.cancelled_s > CANCEL_TIMEOUT_S:
        stop_worker()
        _end_job(notice="Cancelled.")


def _take(event: protocol.Event) -> None:
    job = session.job
    if isinstance(event, protocol.Ready):
        if event.protocol != protocol.PROTOCOL:
            raise ProtocolError(
                f"The worker speaks protocol {event.protocol} and Blender's side {protocol.PROTOCOL}. Set up again."
            )
        session.is_ready, session.models = True, event.models
        model_names[:] = [model.name for model in event.models]
    elif isinstance(event, protocol.Device):
        session.device = event.device
    elif job and event.id == job.id:
        _take_news(event, job)


def _take_news(event: protocol.Progress | protocol.Done | protocol.Failed, job: Job) -> None:
    if isinstance(event, protocol.Progress):
        job.progress = event
    elif isinstance(event, protocol.Failed):
        if event.code == "cancelled":
            _end_job(notice="Cancelled.")
        else:
            _fail(event.message)
    elif job.cancelled_s:
        _end_job(notice="Cancelled.")
    else:
        job.output, job.took_s = Path(str(event.result.get("output", ""))), time.monotonic() - job.started_s
        job.notes = _notes(event.result.get("report"))


def _notes(report: object) -> tuple[str, ...]:
    """The sentences of a worker's report."""
    if not isinstance(report, dict):
        return ()
    notes = report.get("notes")
    sentences = [*(notes if isinstance(notes, list) else ()), report.get("confidence_note")]
    return tuple(sentence for sentence in sentences if isinstance(sentence, str) and sentence)


def _finish_job() -> None:
    """Bring in a result that has arrived, once the user is where Blender lets objects be made."""
    job = session.job
    if not (job and job.output and can_import()):
        return
    if job.target:
        _finish_resynthesis(job, job.output)
    else:
        _finish_inversion(job, job.output)


def can_import() -> bool:
    """Whether a result can be brought in now: Edit Mode would lose it, a running drag would break."""
    if bpy.context.mode != "OBJECT":
        return False
    windows = bpy.context.window_manager.windows
    return not any(operator.bl_idname.startswith("TRANSFORM_OT") for w in windows for operator in w.modal_operators)


def _finish_inversion(job: Job, output: Path) -> None:
    obj = import_head(output, job.title)
    select_head(obj)
    frame_head(obj)
    session.last_head = obj.name
    if job.kind:
        session.measured_s[job.kind] = job.took_s
    _end_job(notice="\n".join(job.notes))
    bpy.ops.ed.undo_push(message="Create Head")


def _finish_resynthesis(job: Job, output: Path) -> None:
    obj = _target(job)
    if obj is None:
        raise HeadError(f"{job.target} has changed or gone in the meantime, so it did not get its new surface.")
    later, held = moved_since(obj, job.baked), held_sliders(obj, job.baked)
    lost = replace_surface(obj, output)
    move_sliders(obj, later)
    hold_sliders(obj, held)
    session.last_head = obj.name
    not_carried = [f"Not carried over: {', '.join(lost)}. Undo brings it back."] if lost else []
    _end_job(notice="\n".join([*not_carried, *job.notes]))
    bpy.ops.ed.undo_push(message="Resynthesize Head")


def _target(job: Job) -> bpy.types.Object | None:
    """The head the job was started for, even when it was renamed; never another one of its name."""
    heads = [obj for obj in bpy.data.objects if is_head(obj) and not obj.library and obj[RECORD_KEY] == job.record]
    return next((obj for obj in heads if obj.name == job.target), heads[0] if heads else None)


def _fail(message: str, *, worker_is_lost: bool = False) -> None:
    if worker_is_lost:
        stop_worker()
    kept = _kept_head()
    _end_job(notice="", kept=kept)
    session.error = message if kept is None else f"{message} The head is kept in {kept}; {HOW_TO_IMPORT}"


def _kept_head() -> Path | None:
    """Where the head is that has arrived and could not be brought in, out of Blender's temporary folder if possible."""
    job = session.job
    if not (job and job.output and job.output.is_file()):
        return None
    kept = places().kept_heads / f"{bpy.path.clean_name(job.title)} {datetime.now():%Y-%m-%d %H%M%S}.glb"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(job.output, kept)
    except OSError:
        return job.output
    return kept


def _end_job(*, notice: str, kept: Path | None = None) -> None:
    job, session.job = session.job, None
    session.notice = notice
    if job and (kept is None or kept != job.output):
        shutil.rmtree(job.folder, ignore_errors=True)


def stop_worker() -> None:
    """End the worker's process; the next job starts another."""
    worker, session.worker = session.worker, None
    session.is_ready, session.device = False, ""
    if worker:
        worker.close(wait_s=0.5)


def stop() -> None:
    """End everything that runs, for ``unregister`` and for Blender's end."""
    if bpy.app.timers.is_registered(poll):
        bpy.app.timers.unregister(poll)
    if session.setup:
        session.setup.close()
    stop_worker()
    _end_job(notice="")
    vars(session).update(vars(Session()))


def redraw() -> None:
    """Have the sidebars of all 3D views drawn again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in (region for region in area.regions if region.type == "UI"):
                    region.tag_redraw()
