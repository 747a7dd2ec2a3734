# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's link to its worker, without Blender: a real child process that echoes."""

import json
import sys
import time

import pytest

from blender_addon import client
from blender_addon.errors import ProtocolError, WorkerEnded
from blender_addon.protocol import Done, Failed

ECHO = """
import json, os, sys
print("a word for the log", file=sys.stderr, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    kind = request["method"]
    if kind == "exit":
        sys.exit(3)
    if kind == "garbage":
        print("no event", flush=True)
    elif kind == "environment":
        print(json.dumps({"id": request["id"], "event": "done", "result": dict(os.environ)}), flush=True)
    elif kind == "deaf":
        import time
        sys.stdout.close()
        time.sleep(60)
    else:
        result = {"bytes": len(line), "text": request["params"].get("text", "")}
        print(json.dumps({"id": request["id"], "event": "done", "result": result}), flush=True)
"""


@pytest.fixture
def start(tmp_path):
    workers = []

    def make(program=ECHO):
        command = client.Command(
            (sys.executable, "-c", program), tmp_path, tmp_path / "logs" / "worker.log", {"X": "1"}
        )
        workers.append(client.Worker(command))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close(wait_s=0)


def receive(worker, count=1, timeout_s=10.0):
    events, end_s = [], time.monotonic() + timeout_s
    while len(events) < count:
        assert time.monotonic() < end_s, "timed out"
        events += worker.receive()
        time.sleep(0.002)
    return events


def test_answers_carry_the_request_s_id(start):
    worker = start()
    ids = [worker.send("echo", {"text": text}) for text in ("a", "ü", "c")]
    events = receive(worker, 3)
    assert [(event.id, event.result["text"]) for event in events] == list(zip(ids, "aüc", strict=True))


def test_megabytes_go_both_ways_without_a_long_wait(start):
    worker = start()
    text = "x" * 3_000_000
    worker.send("echo", {"text": text})
    longest_s, events = 0.0, []
    while not events:
        start_s = time.monotonic()
        events = worker.receive()
        longest_s = max(longest_s, time.monotonic() - start_s)
    assert events[0].result["text"] == text and not worker.has_outgoing
    assert longest_s < 1.0


def test_receiving_never_waits_for_a_silent_worker(start):
    worker = start("import time; time.sleep(60)")
    start_s = time.monotonic()
    assert worker.receive() == []
    assert time.monotonic() - start_s < 0.2


def test_the_end_of_the_worker_is_noticed_with_its_status(start):
    worker = start()
    worker.send("exit", {})
    with pytest.raises(WorkerEnded, match=r"status 3\). Try again; the log says more"):
        receive(worker)


def test_a_killed_worker_is_noticed(start):
    worker = start()
    worker.process.kill()
    with pytest.raises(WorkerEnded, match="killed"):
        receive(worker)


def test_events_before_the_end_are_not_lost(start):
    event = json.dumps({"id": 1, "event": "failed", "code": "no_face", "message": "No face."})
    worker = start(f"print({event!r})")
    worker.process.wait(10)
    assert worker.receive() == [Failed(1, "no_face", "No face.")]
    with pytest.raises(WorkerEnded):
        worker.receive()


def test_half_a_line_waits_for_its_other_half(start):
    halves = '{"id": 1, "event": ', '"done", "result": {}}'
    program = f"import time; print({halves[0]!r}, end='', flush=True); time.sleep(0.3); print({halves[1]!r})"
    assert receive(start(program)) == [Done(1, {})]


def test_lines_that_are_no_events_are_an_error(start):
    worker = start()
    worker.send("garbage", {})
    with pytest.raises(ProtocolError, match="no event"):
        receive(worker)


def test_blender_s_python_settings_do_not_reach_the_worker(start, monkeypatch):
    for name in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONSTARTUP", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("PROTOME_HOME", "/models")
    worker = start()
    worker.send("environment", {})
    environment = receive(worker)[0].result
    assert "/nowhere" not in environment.values()
    assert (environment["PYTHONUTF8"], environment["X"], environment["PROTOME_HOME"]) == ("1", "1", "/models")


def test_stderr_goes_to_the_log_which_does_not_grow_for_ever(start, tmp_path):
    log = tmp_path / "logs" / "worker.log"
    log.parent.mkdir()
    log.write_bytes(b"old\n")
    receive_one(start())
    assert log.read_text() == "old\na word for the log\n"
    log.write_bytes(b"x" * (client.LOG_LIMIT_BYTES + 1))
    receive_one(start())
    assert log.read_text() == "a word for the log\n"


def receive_one(worker):
    worker.send("echo", {})
    receive(worker)


def test_closing_ends_a_worker_at_once_and_a_deaf_one_after_the_wait(start):
    worker, deaf = start(), start("import time; time.sleep(60)")
    worker.close()
    assert worker.process.returncode == 0
    deaf.close(wait_s=0.1)
    assert deaf.process.returncode == -9


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WorkerEnded, match=r"/no/python cannot be started"):
        client.Worker(client.Command(("/no/python",), tmp_path, tmp_path / "log", {}))
