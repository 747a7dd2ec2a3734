# SPDX-License-Identifier: Apache-2.0
"""A real worker process with the fake pipeline."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backend.config import Settings
from backend.protocol import (
    Cancel,
    Device,
    Done,
    Failed,
    Invert,
    JobProgress,
    Ping,
    Ready,
    Request,
    Resynthesize,
    Shutdown,
    Sliders,
    parse_event,
    request_line,
)
from backend.record import record_from_json, record_to_json
from tests.fake_pipeline import make_head

ROOT = Path(__file__).resolve().parents[2]


class Client:
    """The add-on's place: sends requests and reads events, each within a time limit."""

    def __init__(self, log: Path, *arguments: str):
        self.log = log
        command = [sys.executable, str(ROOT / "tests" / "fake_worker.py"), *arguments]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, request_id, params):
        self.send_line(request_line(Request(request_id, params)))

    def send_line(self, line):
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def event(self, kind=None, *, timeout_s=10.0):
        """The next event, or the next of a kind."""
        end = time.monotonic() + timeout_s
        while True:
            line = self.lines.get(timeout=max(end - time.monotonic(), 0.001))
            assert line is not None, self.log.read_text()
            event = parse_event(line)
            if kind is None or isinstance(event, kind):
                return event

    def end_of(self, request_id):
        while (event := self.event((Done, Failed))).id != request_id:
            pass
        return event

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    clients = []

    def start_client(*arguments):
        clients.append(Client(tmp_path / f"worker{len(clients)}.log", *arguments))
        return clients[-1]

    yield start_client
    for client in clients:
        client.close()


@pytest.fixture
def photo(tmp_path):
    def make(name):
        path = tmp_path / f"{name}.png"
        path.write_bytes(b"a photo")
        return path

    return make


def invert(photo, output, **settings):
    return Invert(str(photo), str(output), settings, None, None)


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".protome")]


def test_ready_comes_first_and_device_after_loading(start):
    client = start()
    ready = client.event()
    assert isinstance(ready, Ready)
    assert (ready.protocol, ready.device) == (1, None)
    assert client.event() == Device("cpu")


def test_real_worker_is_ready_before_torch_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = (
        "import sys; from backend import worker\n"
        "heavy = {'torch', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    start_s = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start_s < 3  # 0.1 s on a quiet machine.


def test_photo_becomes_a_file_while_progress_is_told(start, photo, tmp_path):
    client, output, report = start(), tmp_path / "zoë head.glb", tmp_path / "report.json"
    client.send(1, Invert(str(photo("anna")), str(output), {"faces": 5000, "seed": 7}, str(report), None))
    events = [client.event(JobProgress)]
    while isinstance(events[-1], JobProgress):
        events.append(client.event((JobProgress, Done, Failed)))
    done = events.pop()
    assert isinstance(done, Done) and done.result["output"] == str(output)
    assert output.read_bytes()[:4] == b"glTF"
    assert json.loads(report.read_text("utf-8")) == done.result["report"]
    assert done.result["report"]["seed"] == 7
    assert done.result["report"]["scores"] == {"identity": 0.4, "bad": None}
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and {event.id for event in events} == {1}
    assert not leftovers(tmp_path)


def test_head_is_resynthesized_from_its_record(start, tmp_path):
    record = make_head(Settings(), photo_sha256="0" * 64).record
    client, output = start(), tmp_path / "head.glb"
    client.send(1, Resynthesize(record_to_json(record), {"Smile": 0.5}, str(output), {"device": "cpu"}))
    assert isinstance(client.end_of(1), Done)
    content = output.read_bytes()
    assert b"slider_values" in content and b'\\"Smile\\":0.5' in content
    client.send(2, Resynthesize(record_to_json(record), {"Smile": 1.5}, str(output), {}))
    assert client.end_of(2) == Failed(2, "settings", "Smile must be between 0 and 1, not 1.5.")
    client.send(3, Resynthesize(record_to_json(record), {"Nose": 1.0}, str(output), {}))
    assert "has no slider 'Nose'" in client.end_of(3).message
    client.send(4, Resynthesize("{", {}, str(output), {}))
    assert client.end_of(4).code == "record_damaged"
    assert output.read_bytes() == content


def test_sliders_are_those_of_the_record(start):
    record = make_head(Settings(), photo_sha256="0" * 64).record
    client = start()
    client.send(1, Sliders(record_to_json(record)))
    names = [slider["name"] for slider in client.end_of(1).result["sliders"]]
    assert names == [slider.name for slider in record_from_json(record_to_json(record)).sliders]


def test_what_libraries_print_does_not_reach_the_pipe(start, photo, tmp_path):
    client = start()
    client.send(1, invert(photo("noisy"), tmp_path / "head.glb"))
    end = client.end_of(1)
    assert isinstance(end, Done) and end.result["output"] == str(tmp_path / "head.glb")
    log = client.log.read_text()
    assert "from below Python" in log and '"event": "done"' in log and "a library's warning" in log


@pytest.mark.parametrize(("name", "code"), [("noface", "no_face"), ("broken", "internal"), ("memory", "memory")])
def test_worker_goes_on_after_a_failure(start, photo, tmp_path, name, code):
    client, output = start(), tmp_path / "head.glb"
    client.send(1, invert(photo(name), output))
    failed = client.end_of(1)
    assert (failed.code, output.exists()) == (code, False)
    assert ("Traceback" in client.log.read_text()) == (code == "internal")
    client.send(2, invert(photo("anna"), output))
    assert isinstance(client.end_of(2), Done)


def test_bad_lines_are_answered_and_survived(start):
    client = start()
    client.send_line(b'{"id": 5, "method": "explode", "params": {}}\n\xff\xfe\n\n')
    assert [(client.end_of(id_).id, id_) for id_ in (5, 0, 0)] == [(5, 5), (0, 0), (0, 0)]
    client.send(6, Ping())
    assert client.end_of(6) == Done(6, {})


@pytest.mark.parametrize("settings", [{"faces": 5}, {"quality": "perfect"}, {"speed": 1}, {"texture_px": 2048.0}])
def test_bad_settings_are_refused(start, photo, tmp_path, settings):
    client = start()
    client.send(1, invert(photo("anna"), tmp_path / "head.glb", **settings))
    assert client.end_of(1).code == "settings"


def test_ping_is_answered_during_a_job(start, photo, tmp_path):
    client = start()
    client.send(1, invert(photo("slow"), tmp_path / "head.glb"))
    client.event(JobProgress)
    client.send(2, Ping())
    assert client.event(Done, timeout_s=1) == Done(2, {})


def test_cancel_stops_a_job_within_a_second(start, photo, tmp_path):
    client, output = start(), tmp_path / "head.glb"
    client.send(1, invert(photo("slow"), output))
    client.send(2, invert(photo("anna"), output))
    while client.event(JobProgress).stage != "refine":
        pass
    start_s = time.perf_counter()
    client.send(3, Cancel(1))
    assert client.event(Done) == Done(3, {"job_found": True})
    assert client.event(Failed) == Failed(1, "cancelled", "Cancelled.")
    assert time.perf_counter() - start_s < 1
    assert isinstance(client.end_of(2), Done) and output.exists()
    client.send(4, Cancel(2))
    assert client.end_of(4) == Done(4, {"job_found": False})


def test_waiting_and_loading_jobs_can_be_cancelled(start, photo, tmp_path):
    client = start("20")
    for job in (1, 2):
        client.send(job, invert(photo("anna"), tmp_path / "head.glb"))
        client.send(job + 10, Cancel(job))
    assert {client.event((Done, Failed), timeout_s=2).id for _ in range(4)} == {1, 2, 11, 12}


def test_end_of_stdin_ends_the_worker_during_a_job(start, photo, tmp_path):
    client, output = start(), tmp_path / "head.glb"
    output.write_bytes(b"older")
    client.send(1, invert(photo("slow"), output))
    while client.event(JobProgress).stage != "refine":
        pass
    client.process.stdin.close()
    assert client.process.wait(timeout=1) == 0
    assert output.read_bytes() == b"older" and not leftovers(tmp_path)


def test_shutdown_is_answered_and_ends_the_worker_while_loading(start):
    client = start("20")
    client.send(1, Shutdown())
    assert client.end_of(1) == Done(1, {})
    assert client.process.wait(timeout=1) == 0


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_worker_leaves_the_old_output(start, photo, tmp_path):
    client, output = start(), tmp_path / "head.glb"
    output.write_bytes(b"older")
    client.send(1, invert(photo("slow"), output))
    client.event(JobProgress)
    client.process.send_signal(signal.SIGKILL)
    client.process.wait(timeout=2)
    assert output.read_bytes() == b"older" and not leftovers(tmp_path)


def test_missing_folder_is_told_before_the_work(start, photo, tmp_path):
    client = start()
    client.send(1, invert(photo("slow"), tmp_path / "nowhere" / "head.glb"))
    assert client.end_of(1).code == "unwritable"
    client.send(2, invert(photo("slow"), tmp_path / "head.txt"))
    assert client.end_of(2).code == "settings"


def test_without_torch_the_job_says_how_to_get_it(photo, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    request = request_line(Request(1, invert(photo("anna"), tmp_path / "head.glb")))
    process = subprocess.Popen(
        [sys.executable, "-m", "backend", "worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    process.stdin.write(request)
    process.stdin.flush()
    events = [parse_event(process.stdout.readline()) for _ in range(3)]
    process.communicate()
    assert isinstance(events[0], Ready) and isinstance(events[1], JobProgress)
    assert events[2].code == "no_torch" and "scripts/protome.py setup" in events[2].message
