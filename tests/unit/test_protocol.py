# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

from backend.protocol import (
    Done,
    Invert,
    JobProgress,
    ProtocolError,
    Request,
    Resynthesize,
    event_line,
    parse_event,
    parse_request,
    request_line,
)


@pytest.mark.parametrize("line", [b"", b"\n", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'"ping"'])
def test_noise_is_refused_with_one_sentence(line):
    for parse in (parse_request, parse_event):
        with pytest.raises(ProtocolError) as caught:
            parse(line)
        assert str(caught.value).endswith(".")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not Unicode")
def test_file_names_that_are_not_unicode_survive():
    photo = os.fsdecode(b"caf\xe9 \xf0\x9f\x98\x80.jpg")
    request = Request(1, Invert(photo, "a.glb", {}, None, None))
    line = request_line(request)
    assert line.isascii()
    assert parse_request(line) == request


def test_line_breaks_in_texts_stay_inside_the_line():
    line = event_line(Done(1, {"text": "a\nb\r\n\u2028c"}))
    assert line.count(b"\n") == 1
    assert parse_event(line) == Done(1, {"text": "a\nb\r\n\u2028c"})


def test_whole_numbers_are_read_as_floats_where_floats_are_due():
    event = parse_event(b'{"id": 1, "event": "progress", "stage": "mesh", "fraction": 1, "eta_s": 0}')
    assert event == JobProgress(1, "mesh", 1.0, 0.0)
    assert type(event.fraction) is float


def test_numbers_too_large_for_a_float_are_refused():
    line = b'{"id": 1, "method": "resynthesize", "params": {"record": "", "slider_values": {"Smile": 1%s},' % (
        b"0" * 400
    )
    with pytest.raises(ProtocolError, match="finite"):
        parse_request(line + b' "output": "a.glb", "settings": {}}}')


def test_numbers_that_are_not_finite_are_not_sent():
    with pytest.raises(ValueError, match="JSON"):
        event_line(JobProgress(1, "mesh", float("nan"), None))


def test_the_refusal_names_the_field():
    with pytest.raises(ProtocolError, match=r"invert: params\.photo must be str, not int\."):
        parse_request(
            b'{"id": 1, "method": "invert", "params":'
            b' {"photo": 1, "output": "", "settings": {}, "report": null, "preview": null}}'
        )
    with pytest.raises(ProtocolError, match=r"resynthesize: params lacks record, output, settings\."):
        parse_request(b'{"id": 1, "method": "resynthesize", "params": {"slider_values": {}}}')


def test_requests_with_equal_content_are_equal():
    one = Request(1, Resynthesize("{}", {"Smile": 0.5}, "a.glb", {}))
    assert parse_request(request_line(one)) == one
