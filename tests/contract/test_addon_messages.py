# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's side of the protocol against the file of examples that both sides share; runs without Blender."""

import json
import os
from pathlib import Path

import pytest

from backend.protocol import parse_request
from blender_addon import protocol
from blender_addon.errors import ProtocolError

MESSAGES = json.loads((Path(__file__).parent / "messages.json").read_text("utf-8"))
EVENTS, REQUESTS = MESSAGES["events"], MESSAGES["requests"]


def decode(message):
    return protocol.decode_event(json.dumps(message).encode())


@pytest.mark.parametrize("name", ["invert", "invert_several"])
def test_invert_is_written_as_agreed(name):
    example = REQUESTS[name]
    given = example["params"]
    params = protocol.invert_params(
        given["photo"],
        given["output"],
        given["settings"],
        report=given["report"],
        more_photos=given["more_photos"],
    )
    line = protocol.encode_request(example["id"], "invert", params)
    assert json.loads(line) == example
    assert line.count(b"\n") == 1 and line.endswith(b"\n")


def test_a_path_that_is_no_unicode_reaches_the_worker():
    path = os.fsdecode(b"caf\xe9.png")
    line = protocol.encode_request(1, "invert", protocol.invert_params(path, "a.glb", {}, report=None))
    assert parse_request(line).params.photo == path


def test_resynthesize_is_written_as_agreed():
    example = REQUESTS["resynthesize"]
    given = example["params"]
    params = protocol.resynthesize_params(
        given["record"], given["slider_values"], output=given["output"], settings=given["settings"]
    )
    assert json.loads(protocol.encode_request(example["id"], "resynthesize", params)) == example


def test_cancel_is_written_as_agreed():
    assert json.loads(protocol.encode_request(6, "cancel", {"job": 2})) == REQUESTS["cancel"]


def test_a_number_that_is_not_finite_is_never_written():
    params = protocol.resynthesize_params("{}", {"Smile": float("nan")}, output="a.glb", settings={})
    with pytest.raises(ValueError, match="Out of range"):
        protocol.encode_request(1, "resynthesize", params)


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_understood(name):
    event = decode(EVENTS[name])
    for key, value in EVENTS[name].items():
        if hasattr(event, key) and key != "models":
            assert getattr(event, key) == value


def test_ready_names_the_models_and_what_they_allow():
    event = decode(EVENTS["ready"])
    assert event.protocol == protocol.PROTOCOL
    assert event.models == (protocol.Model("starter", "Apache-2.0", "yes"),)


@pytest.mark.parametrize("name", EVENTS)
def test_unknown_keys_are_ignored(name):
    assert decode({**EVENTS[name], "later": 1}) == decode(EVENTS[name])


@pytest.mark.parametrize("name", MESSAGES["refused_events"])
def test_bad_events_are_refused(name):
    with pytest.raises(ProtocolError):
        decode(MESSAGES["refused_events"][name])


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"Traceback (most recent call last):"])
def test_lines_that_are_no_json_are_refused(line):
    with pytest.raises(ProtocolError):
        protocol.decode_event(line)
