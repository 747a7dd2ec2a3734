# SPDX-License-Identifier: Apache-2.0
"""The backend's reader against the one file of examples that both sides share."""

import json
from pathlib import Path

import pytest

from backend import protocol
from backend.protocol import ProtocolError, event_line, parse_event, parse_request, request_line

LATER_KEYS = {"invert": {"more_photos": []}}  # What a request of an earlier version leaves out.
MESSAGES = json.loads((Path(__file__).parent / "messages.json").read_text("utf-8"))


def line(message):
    return json.dumps(message).encode()


@pytest.mark.parametrize("name", MESSAGES["requests"])
def test_requests_survive_reading_and_writing(name):
    message = MESSAGES["requests"][name]
    request = parse_request(line(message))
    written = request_line(request)
    assert json.loads(written) == message | {"params": LATER_KEYS.get(message["method"], {}) | message["params"]}
    assert parse_request(written) == request
    assert written.count(b"\n") == 1 and written.endswith(b"\n")


@pytest.mark.parametrize("name", MESSAGES["events"])
def test_events_survive_reading_and_writing(name):
    message = MESSAGES["events"][name]
    event = parse_event(line(message))
    written = event_line(event)
    assert json.loads(written) == message
    assert parse_event(written) == event
    assert written.count(b"\n") == 1 and written.endswith(b"\n")


@pytest.mark.parametrize("name", MESSAGES["refused_requests"])
def test_bad_requests_are_refused_with_their_id(name):
    message = MESSAGES["refused_requests"][name]
    with pytest.raises(ProtocolError) as caught:
        parse_request(line(message))
    has_id = isinstance(message, dict) and message.get("id") == 8
    assert caught.value.request_id == (8 if has_id else 0)


@pytest.mark.parametrize("name", MESSAGES["refused_events"])
def test_bad_events_are_refused(name):
    with pytest.raises(ProtocolError):
        parse_event(line(MESSAGES["refused_events"][name]))


def test_every_kind_of_message_has_an_example():
    assert {message["method"] for message in MESSAGES["requests"].values()} == set(protocol.METHODS)
    assert {message["event"] for message in MESSAGES["events"].values()} == set(protocol.EVENTS)


def test_unknown_keys_are_ignored():
    for message in MESSAGES["requests"].values():
        longer = message | {"later": 1, "params": message["params"] | {"later": [1]}}
        assert parse_request(line(longer)) == parse_request(line(message))
    for message in MESSAGES["events"].values():
        assert parse_event(line(message | {"later": {}})) == parse_event(line(message))
