# SPDX-License-Identifier: Apache-2.0
"""The messages between the add-on and the worker: one JSON object per line, UTF-8.

``tests/contract/messages.json`` holds an example of every message and of what is refused; the add-on's own
reader is tested with the same file. Unknown keys are ignored, and keys that came later have defaults, so that a version
of the protocol may grow.
"""

import json
import sys
import types
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from backend.errors import ProtomeError

PROTOCOL = 1


class ProtocolError(ProtomeError):
    """A line that is not a message of this protocol.

    Args:
        message: What is wrong with the line.
        request_id: The id that the line carried, 0 when it had no usable one.
    """

    default_code = "protocol"

    def __init__(self, message: str, request_id: int = 0) -> None:
        super().__init__(message)
        self.request_id = request_id


@dataclass(frozen=True)
class Invert:
    """Turn photos of a person into a head.

    Args:
        photo: Path of the picture, the main one of several.
        output: Path of the mesh to write; its suffix chooses the format.
        settings: Fields of ``backend.config.Settings``; what is left out takes the default.
        report: Path of the JSON report to write.
        preview: Path of the contact sheet to write.
        more_photos: Paths of the other pictures of the person.
    """

    photo: str
    output: str
    settings: dict[str, object]
    report: str | None
    preview: str | None
    more_photos: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Resynthesize:
    """Build a head anew at other slider values.

    Args:
        record: The head's ``HeadRecord`` as the JSON text in the GLB's extras.
        slider_values: By slider name.
        output: Path of the mesh to write; its suffix chooses the format.
        settings: Fields of ``backend.config.Settings``; what is left out is taken from the record.
    """

    record: str
    slider_values: dict[str, float]
    output: str
    settings: dict[str, object]


@dataclass(frozen=True)
class Sliders:
    """List the sliders of a head, whose ``HeadRecord`` comes as JSON text."""

    record: str


@dataclass(frozen=True)
class Ping:
    """Ask whether the worker is alive."""


@dataclass(frozen=True)
class Cancel:
    """Stop the job with the id ``job``, be it running or waiting."""

    job: int


@dataclass(frozen=True)
class Shutdown:
    """Stop the running job and end the worker."""


Params = Invert | Resynthesize | Sliders | Ping | Cancel | Shutdown

METHODS: dict[str, type[Params]] = {
    "invert": Invert,
    "resynthesize": Resynthesize,
    "sliders": Sliders,
    "ping": Ping,
    "cancel": Cancel,
    "shutdown": Shutdown,
}


@dataclass(frozen=True)
class Request:
    """One line from the add-on.

    Args:
        id: Positive and new for every request.
        params: Its type says the method.
    """

    id: int
    params: Params


@dataclass(frozen=True)
class Model:
    """An installed generator; ``commercial_use`` is "yes", "no" or "unknown"."""

    name: str
    licence: str
    commercial_use: str


@dataclass(frozen=True)
class Ready:
    """The worker listens. ``device`` is None until torch is loaded; then a ``Device`` event names it."""

    protocol: int
    version: str
    device: str | None
    models: list[Model]


@dataclass(frozen=True)
class Device:
    """Where ``auto`` computes: cpu, cuda or mps."""

    device: str


@dataclass(frozen=True)
class JobProgress:
    """Where a job stands; the fields are those of ``backend.progress.Progress``."""

    id: int
    stage: str
    fraction: float
    eta_s: float | None


@dataclass(frozen=True)
class Done:
    """A request is served."""

    id: int
    result: dict[str, object]


@dataclass(frozen=True)
class Failed:
    """A request could not be served; ``message`` says what to do. The id is 0 when none could be read."""

    id: int
    code: str
    message: str


Event = Ready | Device | JobProgress | Done | Failed

EVENTS: dict[str, type[Event]] = {
    "ready": Ready,
    "device": Device,
    "progress": JobProgress,
    "done": Done,
    "failed": Failed,
}


def parse_request(line: bytes) -> Request:
    """Read one line from the add-on.

    Raises:
        ProtocolError: The line is not a request of this protocol.
    """
    message = _json_object(line)
    request_id = message.get("id")
    if type(request_id) is not int or request_id < 1:
        raise ProtocolError("A request needs an id above 0.")
    method = message.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise ProtocolError(f"There is no method {method!r}; known are {', '.join(METHODS)}.", request_id)
    try:
        params: Params = _checked(message.get("params"), METHODS[method], "params")
    except ProtocolError as error:
        raise ProtocolError(f"{method}: {error}", request_id) from error
    return Request(request_id, params)


def parse_event(line: bytes) -> Event:
    """Read one line from the worker.

    Raises:
        ProtocolError: The line is not an event of this protocol.
    """
    message = _json_object(line)
    name = message.get("event")
    if not isinstance(name, str) or name not in EVENTS:
        raise ProtocolError(f"There is no event {name!r}.")
    event: Event = _checked(message, EVENTS[name], name)
    if isinstance(event, JobProgress) and not 0 <= event.fraction <= 1:
        raise ProtocolError(f"progress.fraction must be between 0 and 1, not {event.fraction}.")
    return event


def request_line(request: Request) -> bytes:
    """The line that ``parse_request`` reads back."""
    method = next(name for name, kind in METHODS.items() if type(request.params) is kind)
    return _json_line({"id": request.id, "method": method, "params": asdict(request.params)})


def event_line(event: Event) -> bytes:
    """The line that ``parse_event`` reads back.

    Raises:
        ValueError: A number in the event is not finite, or a value is not JSON.
    """
    name = next(name for name, kind in EVENTS.items() if type(event) is kind)
    return _json_line({"event": name} | asdict(event))


def _json_line(message: dict[str, object]) -> bytes:
    # ASCII only, so that a path that is not valid Unicode survives as an escaped lone surrogate.
    return json.dumps(message, allow_nan=False).encode("ascii") + b"\n"


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("The line is not JSON.") from error
    if not isinstance(message, dict):
        raise ProtocolError("A message must be a JSON object.")
    return message


def _checked(value: Any, hint: Any, name: str) -> Any:
    """The value as the annotation ``hint`` wants it, dataclasses built from their dictionaries."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _checked(value, get_args(hint)[0], name)
    if is_dataclass(hint) and isinstance(hint, type):
        return _checked_dataclass(_of_type(value, dict, name), hint, name)
    if origin is dict:
        items = _of_type(value, dict, name).items()
        return {key: _checked(item, get_args(hint)[1], f"{name}.{key}") for key, item in items}
    if origin is list:
        return [_checked(item, get_args(hint)[0], name) for item in _of_type(value, list, name)]
    if hint is float:
        return _checked_float(value, name)
    return value if hint is object else _of_type(value, hint, name)


def _checked_dataclass(values: dict[str, Any], kind: type, name: str) -> Any:
    hints = get_type_hints(kind)
    has_default = {item.name for item in fields(kind) if item.default_factory is not MISSING}
    missing = [key for key in hints if key not in values and key not in has_default]
    if missing:
        raise ProtocolError(f"{name} lacks {', '.join(missing)}.")
    return kind(**{key: _checked(values[key], hint, f"{name}.{key}") for key, hint in hints.items() if key in values})


def _checked_float(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise ProtocolError(f"{name} must be a finite number, not {str(value)[:40]}.")
    return float(value)


def _of_type(value: Any, kind: type, name: str) -> Any:
    if type(value) is not kind:
        raise ProtocolError(f"{name} must be {kind.__name__}, not {type(value).__name__}.")
    return value
