# SPDX-License-Identifier: Apache-2.0
"""Streams of other tools, cuts and changed bytes: whatever they say, nothing is run."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backend.checkpoint.contents import open_contents
from backend.checkpoint.legacy_stream import read_legacy_stream
from backend.checkpoint.pickle_machine import Budget
from backend.checkpoint.rebuild import PLAIN
from backend.errors import ModelError
from tests.bodies import as_published, body_arrays, python2_pickle
from tests.checkpoints import network_pickle
from tests.pickles import LOAD, call, code_of, legacy, source, stream_code
from tests.unit.parity import FOLDER

ROOT = Path(__file__).resolve().parents[3]


def test_legacy_streams_with_wrong_announcements_are_refused():
    good = legacy({"a": torch.arange(4.0)})
    assert torch.equal(read_legacy_stream(source(good), PLAIN, Budget())["a"].read(), torch.arange(4.0))
    changed = {
        "behind the values": good + b"x",
        "cut": good[:-1],
        "count": good.replace(struct.pack("<q", 4), struct.pack("<q", 5)),
        "byte order": good.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"),
        "magic": good.replace(b"\x8a\n", b"\x8a\n\x00", 1),
        "another kind of storage": good.replace(b"FloatStorage", b"SlowStorage."),
        "a module": good.replace(b"storage", b"modules"),
    }
    for what, data in changed.items():
        assert data != good, what
        assert stream_code(data) in ("checkpoint_unsafe", "checkpoint_damaged"), what


def test_a_stream_inside_of_a_pickle_is_one_storage_and_nothing_else():
    for inside in (legacy({"a": torch.zeros(2)}), legacy(torch.zeros(2)), legacy({}), b"", b"\x80\x02N."):
        data = b"\x80\x04" + call(*LOAD, b"B" + struct.pack("<I", len(inside)) + inside) + b"."
        assert code_of(data) in ("checkpoint_unsafe", "checkpoint_damaged")


def test_every_cut_of_a_published_pickle_is_noticed(tmp_path):
    data = network_pickle()
    path = tmp_path / "cut.pkl"
    for length in [*range(0, 400, 41), *range(400, len(data), len(data) // 12), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ModelError) as caught, open_contents(path):
            pass
        assert caught.value.code in ("checkpoint_damaged", "checkpoint_kind")


WATCHED = """
import random, sys
from pathlib import Path
from backend.checkpoint.contents import open_contents
from backend.errors import ModelError

def read(path):
    try:
        with open_contents(path) as contents:
            return [tensor.read() for tensor in contents.tensors.values()]
    except ModelError:
        return None

path = Path(sys.argv[1])
data = path.read_bytes()
assert read(path), "what is imported late is imported now"
hostile = [Path(name) for name in sys.argv[2:]]
forbidden = {"exec", "compile", "import", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"}
forbidden |= {"pickle.find_class", "socket.connect", "ctypes.dlopen"}

def watch(event, arguments):
    if event in forbidden or (event == "open" and Path(arguments[0]) not in [path, *hostile]):
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(watch)
chance = random.Random(5)
outcomes = [read(one) for one in hostile]
for _ in range(150):
    changed = bytearray(data)
    for _ in range(chance.choice([1, 3, 30])):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    path.write_bytes(changed)
    outcomes.append(read(path))
sys.stdout.write(f"{outcomes.count(None)} of {len(outcomes)}")
"""


@pytest.mark.parametrize(
    "made",
    [network_pickle, lambda: python2_pickle(as_published(body_arrays(subdivisions=0)), 0)],
    ids=["network", "body model of Python 2"],
)
def test_whatever_the_bytes_say_nothing_is_run_imported_or_opened(tmp_path, made):
    """In a process of its own, because the tests' shape checks compile and run code all the time."""
    path = tmp_path / "changed.pkl"
    path.write_bytes(made())
    hostile = sorted(map(str, FOLDER.glob("*evil*.pkl")))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, path, *hostile], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    refused, total = map(int, done.stdout.split(" of "))
    assert total == 150 + len(hostile)
    assert refused > total / 3
