# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's side of the worker protocol, version 1: one JSON object per line over a pipe.

``tests/contract/messages.json`` holds one example of every message; both sides are tested against it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import ProtocolError

PROTOCOL = 1


@dataclass(frozen=True)
class Model:
    """A generator that the worker has, and what its weights allow.

    Args:
        name: As ``Settings.model`` takes it.
        licence: Short name of the weights' licence.
        commercial_use: ``yes``, ``no`` or ``unknown``.
    """

    name: str
    licence: str
    commercial_use: str


@dataclass(frozen=True)
class Ready:
    """First event of a worker's life."""

    protocol: int
    version: str
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Device:
    """Where torch computes; sent once, when torch is loaded."""

    device: str


@dataclass(frozen=True)
class Progress:
    """Where a job stands.

    Args:
        id: Of the request.
        stage: Name of the stage, such as ``refine``.
        fraction: Done share of the whole job, 0 to 1.
        eta_s: Expected seconds to the end, or None while unknown.
    """

    id: int
    stage: str
    fraction: float
    eta_s: float | None


@dataclass(frozen=True)
class Done:
    """A request's good end."""

    id: int
    result: dict[str, object]


@dataclass(frozen=True)
class Failed:
    """A request's bad end; id 0 when the worker could not read the request."""

    id: int
    code: str
    message: str


Event = Ready | Device | Progress | Done | Failed


def encode_request(request_id: int, method: str, params: dict[str, object]) -> bytes:
    """One request as a line of JSON, ASCII only: so a path that is no Unicode survives as a lone surrogate."""
    request = {"id": request_id, "method": method, "params": params}
    return json.dumps(request, allow_nan=False).encode() + b"\n"


def invert_params(
    photo: str, output: str, settings: dict[str, object], *, report: str | None, more_photos: Sequence[str] = ()
) -> dict[str, object]:
    """Parameters of ``invert``: photos of one person become a head.

    Args:
        photo: Absolute path of a picture file, the main one of several.
        output: Absolute path for the GLB file.
        settings: Fields of the backend's ``Settings``; what is left out takes its default.
        report: Absolute path for the report file, or None.
        more_photos: Absolute paths of the other pictures of the person.
    """
    return {
        "photo": photo, "output": output, "settings": settings, "report": report, "preview": None,
        "more_photos": list(more_photos),
    }  # fmt: skip


def resynthesize_params(
    record: str, slider_values: dict[str, float], *, output: str, settings: dict[str, object]
) -> dict[str, object]:
    """Parameters of ``resynthesize``: a head with its sliders baked in.

    Args:
        record: The head's record, the JSON text from its GLB.
        slider_values: Value by slider name.
        output: Absolute path for the GLB file.
        settings: Fields of the backend's ``Settings``.
    """
    return {"record": record, "slider_values": slider_values, "output": output, "settings": settings}


def decode_event(line: bytes) -> Event:
    """One line of the worker as an event; unknown keys are ignored.

    Raises:
        ProtocolError: It is no event of this protocol.
    """
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"The worker wrote a line that is not JSON: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"The worker wrote a line that is not an event: {line[:80]!r}")
    return _event(_Fields(message))


class _Fields:
    """Typed access to a message."""

    def __init__(self, message: dict[str, object]) -> None:
        self._message = message

    def _value(self, key: str) -> object:
        if key not in self._message:
            raise ProtocolError(f"The worker's message has no {key!r}. Set up the worker again, so that both fit.")
        return self._message[key]

    def _wrong(self, key: str) -> ProtocolError:
        return ProtocolError(f"The worker's message has an unexpected {key!r}: {self._message[key]!r}")

    def text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str):
            raise self._wrong(key)
        return value

    def integer(self, key: str) -> int:
        value = self._value(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key)
        return value

    def number(self, key: str) -> float:
        value = self._value(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise self._wrong(key)
        return float(value)

    def number_or_none(self, key: str) -> float | None:
        return None if self._value(key) is None else self.number(key)

    def fraction(self, key: str) -> float:
        value = self.number(key)
        if not 0 <= value <= 1:
            raise self._wrong(key)
        return value

    def mapping(self, key: str) -> dict[str, object]:
        value = self._value(key)
        if not isinstance(value, dict):
            raise self._wrong(key)
        return value

    def items(self, key: str) -> list[_Fields]:
        value = self._value(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key)
        return [_Fields(item) for item in value]


def _event(fields: _Fields) -> Event:
    kind = fields.text("event")
    if kind == "ready":
        models = tuple(_model(item) for item in fields.items("models"))
        return Ready(fields.integer("protocol"), fields.text("version"), models)
    if kind == "device":
        return Device(fields.text("device"))
    if kind == "progress":
        stage, fraction = fields.text("stage"), fields.fraction("fraction")
        return Progress(fields.integer("id"), stage, fraction, fields.number_or_none("eta_s"))
    if kind == "done":
        return Done(fields.integer("id"), fields.mapping("result"))
    if kind == "failed":
        return Failed(fields.integer("id"), fields.text("code"), fields.text("message"))
    raise ProtocolError(f"The worker sent an unknown event, {kind!r}. Set up the worker again, so that both fit.")


def _model(fields: _Fields) -> Model:
    return Model(fields.text("name"), fields.text("licence"), fields.text("commercial_use"))
