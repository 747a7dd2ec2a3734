# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for ``python -m backend worker``: same protocol, small heads at once. Standard library only.

The photo's name decides what happens: ``slow`` goes on until it is cancelled, ``stubborn`` ignores that as well,
``no face`` fails, ``crash`` kills the worker, ``garbage`` writes no JSON, ``broken`` delivers no GLB,
``clutter`` delivers more than a head, ``restricted`` has a non-commercial licence, ``expressive`` has the photo's
expression as a slider, which the settings start.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import small_head

REQUESTS = Path(os.environ.get("PROTOME_FAKE_REQUESTS", os.devnull))
NOTE = os.environ.get("PROTOME_FAKE_NOTE")  # A report of a head without a face has none.
NOTES = os.environ.get("PROTOME_FAKE_NOTES", "").splitlines()
pending = bytearray()


def main() -> None:
    say(
        event="ready",
        protocol=1,
        version="fake",
        device=None,
        models=[{"name": "starter", "licence": "Apache-2.0", "commercial_use": "yes"}],
    )
    say(event="device", device="cpu")
    while (request := next_request(timeout_s=None)) is not None:
        answer(request)


def say(**message: object) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def next_request(timeout_s: float | None) -> dict | None:
    """The next request; None at the end of input or of the time."""
    while b"\n" not in pending:
        if not select.select([0], [], [], timeout_s)[0]:
            return None
        data = os.read(0, 1 << 16)
        if not data:
            sys.exit(0)
        pending.extend(data)
    end = pending.index(b"\n")
    line = bytes(pending[:end])
    del pending[: end + 1]
    with REQUESTS.open("ab") as log:
        log.write(line + b"\n")
    return json.loads(line)


def answer(request: dict) -> None:
    number, method, params = request["id"], request["method"], request["params"]
    if method == "invert":
        invert(number, params)
    elif method == "resynthesize":
        record = json.loads(params["record"])
        values = dict(record["slider_values"])
        for name, value in params["slider_values"].items():
            is_kept = name == small_head.PHOTO_EXPRESSION["name"]
            values[name] = value if is_kept else values.get(name, 0.0) + value
        text = small_head.record_text(record["seed"], values, sliders=record["sliders"])
        deliver(number, params["output"], text, rings=14, colour=(9, 9, 200))
    else:
        say(id=number, event="done", result={})


def invert(number: int, params: dict) -> None:
    name, seed = Path(params["photo"]).stem, params["settings"]["seed"]
    say(id=number, event="progress", stage="photo", fraction=0.0, eta_s=None)
    say(id=number, event="progress", stage="refine", fraction=0.5, eta_s=1.0)
    if name in ("slow", "stubborn"):
        go_on_until_cancelled(number, stubborn=name == "stubborn")
    elif name == "no face":
        say(id=number, event="failed", code="no_face", message="no face.png shows no face. Choose another photo.")
    elif name == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "garbage":
        os.write(1, b"Traceback\n")
    elif name == "broken":
        Path(params["output"]).write_bytes(b"not a GLB")
        say(id=number, event="done", result={"output": params["output"], "report": {}})
    elif name == "expressive":
        kept = small_head.PHOTO_EXPRESSION
        start = {kept["name"]: 1.0} if params["settings"]["expression"] == "photo" else {}
        record = small_head.record_text(seed, start, sliders=[*small_head.SLIDERS, kept])
        deliver(number, params["output"], record)
    else:
        record = small_head.record_text(seed, {}, "no" if name == "restricted" else "yes")
        deliver(number, params["output"], record, clutter=name == "clutter")


def go_on_until_cancelled(number: int, *, stubborn: bool) -> None:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        request = next_request(timeout_s=0.05)
        if request and request["method"] == "cancel" and not stubborn:
            say(id=request["id"], event="done", result={"job_found": True})
            say(id=number, event="failed", code="cancelled", message="Cancelled.")
            return


def deliver(number: int, output: str, record: str, **options: object) -> None:
    Path(output).write_bytes(small_head.head_glb(record, **options))
    say(
        id=number,
        event="done",
        result={"output": output, "report": {"seed": 0, "notes": NOTES, "confidence_note": NOTE}},
    )


if __name__ == "__main__":
    main()
