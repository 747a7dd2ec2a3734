# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m backend COMMAND``.

Exit codes: 0 all went well, 1 a mistake of ours, 2 something that the user can act on, 3 some photos of a batch
failed, 130 stopped with Ctrl-C.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, get_args

from backend import __version__, batch, cli_models, doctor, jobs, worker
from backend.config import DeviceName, ExpressionName, MethodName, Quality, Settings
from backend.console import Console, ProgressStyle, quiet_console
from backend.errors import ModelError, ProtomeError, SettingsError
from backend.progress import Report
from backend.protocol import Done, Failed, Invert, Resynthesize

JOB_ID = 1
OK, MISTAKE, REFUSED, SOME_FAILED, STOPPED = 0, 1, 2, 3, 130

# Gets a report of the progress, and a function that says a sentence.
Job = Callable[[Report, Callable[[str], None]], jobs.Result]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"protome: {message[:1].upper()}{message[1:]}. {self.prog} --help tells more.\n")


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        options = _parsed(arguments)
        exit_code: int = options.run(options)
        return exit_code
    except ProtomeError as error:
        sys.stderr.write(f"protome: {error}\n")
        return REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("protome: Stopped.\n")
        return STOPPED


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        hint = " (photos stand together, before or after all options)" if options.run is _invert else ""
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="protome", description="Turn portrait photos of a person into a textured head for Blender.")
    parser.add_argument("--version", action="version", version=f"Protome {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_invert(commands.add_parser("invert", help="turn photos of a person into a head"))
    _add_resynthesize(commands.add_parser("resynthesize", help="build a head anew at other slider values"))
    _add_batch(commands.add_parser("batch", help="turn all photos of a folder into heads"))
    cli_models.add_commands(commands.add_parser("models", help="bring, list and check generators"))
    _add_doctor(commands.add_parser("doctor", help="say whether everything that is needed is there"))
    listen = commands.add_parser("worker", help="serve the Blender add-on on stdin and stdout")
    listen.set_defaults(run=_worker)
    return parser


def _add_invert(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "photo",
        nargs="*",
        default=[],
        help="pictures of one person, the main one first; for models of cats or cars a square one, cropped to the "
        "subject",
    )
    source.add_argument("--sample", action="store_true", help="take a portrait of NASA's Eileen Collins instead")
    parser.add_argument("-o", "--output", required=True, help="file to write: .glb, or .obj or .ply without sliders")
    parser.add_argument("--report", metavar="FILE.json", help="also write times, scores and numbers of the run")
    parser.add_argument("--preview", metavar="FILE.png", help="also write a contact sheet")
    _add_settings(parser)
    _add_progress(parser)
    parser.set_defaults(run=_invert)


def _add_resynthesize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("head", help="the head.glb that a run of Protome wrote")
    parser.add_argument(
        "--slider", metavar="NAME=VALUE", action="append", default=[], help="a slider's value; may be repeated"
    )
    parser.add_argument("-o", "--output", required=True, help="file to write: .glb, or .obj or .ply without sliders")
    _add_surface_settings(parser, faces="the head's own", texture="the head's own")
    _add_progress(parser)
    parser.set_defaults(run=_resynthesize)


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder with the photos")
    parser.add_argument("--out", required=True, help="folder for the heads, the reports and summary.csv")
    parser.add_argument("--format", choices=["glb", "obj", "ply"], default="glb", help="of the heads (default: glb)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--recursive", action="store_true", help="also the folders inside the folder")
    which.add_argument(
        "--people",
        action="store_true",
        help="each folder inside the folder is one person; the photo whose name comes first is the main one",
    )
    _add_settings(parser)
    _add_progress(parser)
    parser.set_defaults(run=_batch)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_doctor)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """The fields of ``Settings``; what is not given stays out of the request."""
    default = Settings()
    group = parser.add_argument_group("settings of a new head", argument_default=argparse.SUPPRESS)
    group.add_argument("--model", help=f"an installed model (default: {default.model})")
    group.add_argument("--quality", choices=get_args(Quality), help=f"(default: {default.quality})")
    group.add_argument("--method", choices=get_args(MethodName), help=f"of inversion (default: {default.method})")
    group.add_argument("--face", type=int, metavar="N", help="which face, counted from 0 at the largest")
    group.add_argument("--seed", type=int, metavar="N", help=f"of all randomness (default: {default.seed})")
    group.add_argument(
        "--expression",
        choices=get_args(ExpressionName),
        help=f"how the head is opened; a slider leads to the other (default: {default.expression})",
    )
    _add_surface_settings(parser, faces=str(default.faces), texture=str(default.texture_px))


def _add_surface_settings(parser: argparse.ArgumentParser, *, faces: str, texture: str) -> None:
    """Those that serve a head made anew as well; what comes before its surface was settled by the first run.

    Args:
        parser: Of a command.
        faces: What holds where no number of triangles is given.
        texture: Likewise of the texture's side.
    """
    group = parser.add_argument_group("settings of the surface", argument_default=argparse.SUPPRESS)
    group.add_argument("--device", choices=get_args(DeviceName), help=f"(default: {Settings().device})")
    group.add_argument("--faces", type=int, metavar="N", help=f"triangles of the mesh (default: {faces})")
    group.add_argument(
        "--texture", type=int, dest="texture_px", metavar="PX", help=f"1024, 2048 or 4096 (default: {texture})"
    )


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--progress",
        choices=get_args(ProgressStyle),
        default="auto",
        help="auto: on stderr for people; json: the worker's events on stdout, for programs",
    )


def _settings(options: argparse.Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__}


def _worker(_: argparse.Namespace) -> int:
    worker.main()
    return OK


def _doctor(options: argparse.Namespace) -> int:
    return doctor.main(as_json=options.json)


def _invert(options: argparse.Namespace) -> int:
    photo, *more = [str(_sample_photo())] if options.sample else options.photo
    request = Invert(photo, options.output, _settings(options), options.report, options.preview, more)

    def job(report: Report, say: Callable[[str], None]) -> jobs.Result:
        return jobs.invert_photo(request, report, load_pipeline=jobs.load_pipeline, announce=say)

    return _run_job(options, job)


def _sample_photo() -> Path:
    """A public domain portrait by NASA that comes with scikit-image."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise ModelError(f"The package scikit-image is not installed. {jobs.SETUP_HINT}", code="no_package")
    return Path(package.origin).parent / "data" / "astronaut.png"


def _resynthesize(options: argparse.Namespace) -> int:
    slider_values = dict(_slider_value(text) for text in options.slider)

    def job(report: Report, _: Callable[[str], None]) -> jobs.Result:
        record = jobs.read_record_file(Path(options.head))
        request = Resynthesize(record, slider_values, options.output, _settings(options))
        return jobs.resynthesize_head(request, report, load_pipeline=jobs.load_pipeline)

    return _run_job(options, job)


def _slider_value(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name.strip(), float(value)
    except ValueError as error:
        raise SettingsError(f'{text!r} is no slider value. Write it like --slider "Jaw width=0.5".') from error


def _run_job(options: argparse.Namespace, job: Job) -> int:
    with quiet_console() as console:
        report = console.report(options.progress, JOB_ID)

        def say(sentence: str) -> None:
            if options.progress == "auto":
                console.clear_line()
                console.say(sentence)

        try:
            outcome = jobs.attempt(lambda: job(report, say))
        finally:
            console.clear_line()
        if isinstance(outcome, jobs.Failure):
            return _end_badly(console, outcome, is_json=options.progress == "json")
        if options.progress == "json":
            console.send(Done(JOB_ID, outcome))
        else:
            _say_notes(console, outcome)
            console.stdout.write(f"{outcome['output']}\n")
        return OK


def _say_notes(console: Console, outcome: jobs.Result) -> None:
    """The licence only where the head may not be used freely."""
    content = outcome["report"]
    if not isinstance(content, dict):
        return
    for note in [*content.get("notes", []), content.get("confidence_note")]:
        if note:
            console.say(note)
    if content["model"]["commercial_use"] != "yes":
        console.say(content["licence_note"])


def _end_badly(console: Console, failure: jobs.Failure, *, is_json: bool) -> int:
    is_mistake = failure.code == jobs.INTERNAL
    message = f"{failure.message} {_log_sentence(console)}" if is_mistake else failure.message
    console.say(message)
    if is_json:
        console.send(Failed(JOB_ID, failure.code, message))
    return MISTAKE if is_mistake else REFUSED


def _log_sentence(console: Console) -> str:
    try:
        return f"Please report it with the log {console.save_log()}."
    except OSError as error:
        return f"There is no place for a log: {error.strerror}."


def _batch(options: argparse.Namespace) -> int:
    settings = jobs.settings_from(_settings(options))
    out = Path(options.out)
    suffix = f".{options.format}"
    loose = []
    if options.people:
        items = batch.find_people(Path(options.folder), out, suffix=suffix)
        loose = batch.loose_photos(Path(options.folder))
    else:
        items = batch.find_items(Path(options.folder), out, suffix=suffix, is_recursive=options.recursive)
    with quiet_console() as console:
        if loose:
            names = ", ".join(photo.name for photo in loose)
            console.say(f"Left out: {names}. Put each photo into the folder of its person.")

        def announce(number: int, outcome: batch.Outcome) -> None:
            _announce(console, f"{number} of {len(items)}", outcome)
            if options.progress == "json":
                console.send(_batch_event(number, outcome))

        def run() -> list[batch.Outcome]:
            return batch.run_batch(
                items,
                out,
                settings,
                load_pipeline=jobs.load_pipeline,
                report_of=lambda number: console.report(options.progress, number),
                announce=announce,
                say=console.say,
            )

        outcomes = jobs.attempt(run)
        if isinstance(outcomes, jobs.Failure):
            return _end_badly(console, outcomes, is_json=False)
        failures = [outcome.failure for outcome in outcomes if outcome.failure]
        if any(failure.code == jobs.INTERNAL for failure in failures):
            console.say(_log_sentence(console))
        return SOME_FAILED if failures else OK


def _announce(console: Console, position: str, outcome: batch.Outcome) -> None:
    reason = f": {outcome.failure.message}" if outcome.failure else f", {outcome.seconds:.0f} s"
    console.clear_line()
    console.say(f"{position}, {outcome.item.name}: {outcome.status}{reason}")


def _batch_event(number: int, outcome: batch.Outcome) -> Done | Failed:
    if outcome.failure:
        return Failed(number, outcome.failure.code, outcome.failure.message)
    return Done(number, {"output": str(outcome.item.output), "status": outcome.status, "scores": outcome.scores})
