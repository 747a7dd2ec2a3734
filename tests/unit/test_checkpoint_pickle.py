# SPDX-License-Identifier: Apache-2.0
"""Our machine for pickles: as Python's own on plain data, and nothing but a refusal on all else."""

import io
import pickle
import random
import struct
import subprocess
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.checkpoint.contents import module_tensors, open_contents
from backend.checkpoint.legacy_stream import read_legacy_stream
from backend.checkpoint.pickle_machine import Allowed, Budget, read_pickle
from backend.checkpoint.plain import LazyTensor, PickledObject, Storage, contiguous_stride
from backend.checkpoint.rebuild import PLAIN, allowed_in_network_pickles
from backend.checkpoint.source import ByteSource
from backend.errors import ModelError
from tests.checkpoints import network_pickle, network_state
from tests.unit.parity import FOLDER, Fixture, fixtures

ROOT = Path(__file__).resolve().parents[2]
NONE = Allowed({})
RUN = "import os, tempfile\nopen(os.path.join(tempfile.gettempdir(), 'PROTOME_CANARY_EXECUTED'), 'w')\n"


def source(data: bytes) -> ByteSource:
    return ByteSource(io.BytesIO(data), 0, len(data))


def read(data: bytes, allowed: Allowed | None = None, budget: Budget | None = None):
    budget = budget or Budget()
    return read_pickle(source(data), allowed or allowed_in_network_pickles(budget), budget)


def code_of(data: bytes, **options) -> str:
    with pytest.raises(ModelError) as caught:
        read(data, **options)
    assert str(caught.value).endswith((".", "!")) and "\n" not in str(caught.value)
    return caught.value.code


def text(value: str) -> bytes:
    encoded = value.encode()
    return (
        b"\x8c" + bytes([len(encoded)]) + encoded
        if len(encoded) < 256
        else b"X" + struct.pack("<I", len(encoded)) + encoded
    )


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def number(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


# --- plain data -------------------------------------------------------------------------------------------------------


def plain_values(seed: int):
    """Nested random data with shared parts, as only the pickle format's own containers can hold."""
    chance = random.Random(seed)
    shared = ["shared", chance.random()]

    def make(depth: int):
        kind = chance.randrange(12 if depth else 7)
        if kind == 0:
            return chance.choice([0, 1, 255, 256, 65535, 65536, -1, 2**31 - 1, -(2**31), 2**40, -(2**70), 10**30])
        if kind < 7:
            return [None, True, False, chance.gauss(0, 1e3), "ü" * chance.randrange(300), shared][kind - 1]
        size = chance.choice([0, 1, 2, 3, 4, 9])
        parts = [make(depth - 1) for _ in range(size)]
        if kind < 9:
            return parts
        if kind < 11:
            return tuple(parts)
        return {f"key {i}" if i % 2 else i: part for i, part in enumerate(parts)}

    return [make(4), {"set": {"a", "b", 3}, "empty": set(), "ordered": OrderedDict(a=1, b=(2,))}]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(8))
def test_plain_data_is_read_as_python_reads_it(seed, protocol):
    values = plain_values(seed)
    assert read(pickle.dumps(values, protocol)) == values


def test_bytes_stay_in_the_file():
    for size in (0, 3, 300, 70_000):
        value = read(pickle.dumps(b"x" * size, 4), allowed=NONE)
        assert isinstance(value, ByteSource) and len(value) == size
        assert bytes(value.part(0, size)) == b"x" * size


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((1, 2), np.float32)]
)
def test_numpy_arrays_and_numbers_are_rebuilt(array, protocol):
    rebuilt = read(pickle.dumps(array, protocol)).content.read()
    assert torch.equal(rebuilt, torch.from_numpy(np.ascontiguousarray(array)))
    assert read(pickle.dumps([np.float64(0.1), np.float32(2), np.int64(-3), np.bool_(True)], protocol)) == [
        0.1,
        2,
        -3,
        True,
    ]


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_are_rebuilt_as_torch_does(protocol):
    base = torch.randn(4, 6)
    tensors = [
        base,
        base.t(),
        base[1:3, ::2],
        base.half(),
        base.bfloat16(),
        torch.tensor(3),
        base > 0,
        torch.empty(0, 2),
    ]
    tensors += [torch.nn.Parameter(base), torch.arange(3).int(), torch.zeros(2, dtype=torch.uint8)]
    for tensor, rebuilt in zip(tensors, read(pickle.dumps(tensors, protocol)), strict=True):
        values = rebuilt.read()
        assert values.dtype == tensor.dtype and values.is_contiguous()
        assert torch.equal(values, tensor.detach())


# --- published pickles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_published_pickle_gives_its_state_dict_and_options(tmp_path, protocol):
    state = network_state()
    (tmp_path / "network.pkl").write_bytes(network_pickle(state, protocol=protocol))
    with open_contents(tmp_path / "network.pkl") as contents:
        found = {name: tensor.read() for name, tensor in contents.tensors.items()}
        assert found.pop("dataset_label_std").shape == (25,)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)
        assert contents.class_name == "TriPlaneGenerator" and contents.neural_resolution == 64
        assert contents.init_kwargs["mapping_kwargs"] == {"num_layers": 2}
        assert contents.rendering_kwargs["avg_camera_pivot"] == [0, 0, 0.1]


@pytest.mark.parametrize("path", fixtures(lambda meta: "pickle_facts" in meta))
def test_the_published_canary_is_read_bit_for_bit_and_never_run(path):
    fixture = Fixture(path)
    expected = fixture.state()
    marker = Path(tempfile.gettempdir()) / "PROTOME_CANARY_EXECUTED"
    assert not marker.exists()
    with open_contents(FOLDER / fixture.meta["pkl"]) as contents:
        assert contents.init_kwargs == fixture.meta["init_kwargs"]
        assert contents.rendering_kwargs == fixture.meta["rendering_kwargs_effective"]
        assert contents.neural_resolution == fixture.meta["neural_rendering_resolution_attribute"]
        for name, value in expected.items():
            assert torch.equal(contents.tensors[name].read(), value), name
    assert not marker.exists()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*evil*.pkl")) or [None])
def test_published_hostile_pickles_are_refused(path):
    if path is None:
        pytest.skip(f"no hostile pickles in {FOLDER} (set PROTOME_PARITY_DIR)")
    with pytest.raises(ModelError, match="not on the short list") as caught, open_contents(path):
        pass
    assert caught.value.code == "checkpoint_unsafe"


# --- hostile pickles --------------------------------------------------------------------------------------------------

LOAD = ("torch.storage", "_load_from_bytes")
TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PERSISTENT = ("torch_utils.persistence", "_reconstruct_persistent_obj")
ORDERED = ("collections", "OrderedDict")
EXEC = b"c__builtin__\nexec\n" + b"X" + struct.pack("<I", len(RUN)) + RUN.encode() + b"\x85R."


@pytest.mark.parametrize(
    "body",
    [
        call("builtins", "exec", text(RUN)),
        b"cbuiltins\nexec\n" + text(RUN) + b"\x85R",
        b"cos\nsystem\n" + text("true") + b"\x85R",
        call("builtins", "getattr", named("collections", "OrderedDict"), text("clear")),
        call("torch", "load", text("x")),
        call("torch.storage", "_load_from_bytes.__globals__", text("x")),
        call("collections", "OrderedDict.fromkeys", text("x")),
        call("torch._utils", "importlib.import_module", text("os")),
        call("torch._utils.importlib", "import_module", text("os")),
        call("training.triplane", "exec", text(RUN)),
        text("exec") + b"\x94" + text("builtins") + b"h\x00\x93" + text(RUN) + b"\x85R",  # a name from the memory
        call(*PERSISTENT, b"}(" + text("type") + text("class") + text("state") + call("os", "getcwd") + b"u"),
        call(*LOAD, b"B" + struct.pack("<I", len(EXEC)) + b"\x80\x02" + EXEC),
        call(*TENSOR, call(*LOAD, b"C" + bytes([7]) + b"\x80\x02cos\n."), b"K\x00", b")", b")"),
        b"cos\nsystem\n(" + text("true") + b"o",  # OBJ
        b"(" + text("true") + b"ios\nsystem\n",  # INST
        b"(ios\nsystem\n",
        named(*ORDERED) + b")}\x92",  # NEWOBJ_EX
        named("subprocess", "Popen") + b")\x81",
        named("torch", "float32") + b")\x81",
        named("training.triplane", "OSGDecoder") + text("x") + b"\x85\x81",
        named("training.triplane", "OSGDecoder") + b")R",  # a class is not called
        named("torch", "float32") + b")R",
        b"\x82\x01",  # EXT1
        b"\x83\x01\x00",  # EXT2
        b"\x84\x01\x00\x00\x00",  # EXT4
        text("x") + b"Q",  # BINPERSID
        b"P1\n",  # PERSID
        b"N2",  # DUP
        b"NN0",  # POP
        b"I1\n",
        b"S'x'\n",
        b"\x96\x01\x00\x00\x00\x00\x00\x00\x00x",  # BYTEARRAY8
        b"\x97",  # NEXT_BUFFER
        b"})}s",  # a tuple as a key
        b"\x8f(" + b")" + b"\x90",  # a tuple in a set
        b"}" + number(2**40) + b"Ns",  # numbers that could be chosen to collide
        b"}" + b"G" + struct.pack(">d", 0.5) + b"Ns",
        call("builtins", "set", text("abc")),
        call("builtins", "set", b"](" + b")" + b"e"),
        call("_codecs", "encode", text("x"), text("rot13")),
        call("_codecs", "encode", text("x"), text("latin1"), text("strict")),
        call("numpy", "dtype", text("O8"))
        + b"\x94"
        + call("numpy.core.multiarray", "scalar", b"h\x00", b"C\x08" + bytes(8)),
        call("numpy", "dtype", text("f8")) + b"(K\x03" + text(">") + b"tb",
        call(*PERSISTENT, b"}"),
        call(*PERSISTENT, b"N"),
        call(*TENSOR, b"N", b"K\x00", b")", b")"),
        call("torch._utils", "_rebuild_parameter", b"N", b"\x88", b"N"),
        b"\x80\x00N",
        b"\x80\x06N",
    ],
)
def test_everything_but_the_short_list_is_refused(body):
    marker = Path(tempfile.gettempdir()) / "PROTOME_CANARY_EXECUTED"
    code = code_of(b"\x80\x04" + body + b".")
    assert code in ("checkpoint_unsafe", "checkpoint_damaged")
    assert not marker.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"NN",
        b"(N",
        b"R",
        b"NR",
        text("os.system") + text("true") + b"\x85R",  # a text is not called
        named(*ORDERED) + b"NR",
        b"h\x00",
        b"j\x00\x00\x00\x00",
        b"\x94",
        b"t",
        b"N\x87",
        b"Ne",
        b"N(Ne",
        b"N(NNu",
        b"}(Nu",
        b"NNa",
        b"Nb",
        b"]}b",
        b"]\x81",
        text("x") + b"\x93",
        b"NN\x93",
        b"K\x01K\x02\x93",
        b"\x8c\x02\xff\xfe",
        b"c\xff\nx\n",
        named("training.triplane", "OSGDecoder") + b")\x81)b",
        call("numpy.core.multiarray", "_reconstruct", b"N") + b"K\x01\x85b",
    ],
)
def test_senseless_pickles_are_called_damaged_or_refused(body):
    assert code_of(b"\x80\x04" + body + b".") in ("checkpoint_damaged", "checkpoint_unsafe")


@pytest.mark.parametrize(
    "body",
    [
        b"\x8e" + struct.pack("<Q", 2**60),  # BINBYTES8
        b"\x8d" + struct.pack("<Q", 2**60),  # BINUNICODE8
        b"X" + struct.pack("<I", 2**32 - 1),
        b"B" + struct.pack("<I", 2**32 - 1),
        b"\x8b" + struct.pack("<i", 2**31 - 1),  # LONG4
        b"\x8b" + struct.pack("<i", -1),
        b"\x8a\xff" + b"\x01" * 255,
        b"cx",
        b"c" + b"x" * 1000,
        b"\x95" + struct.pack("<Q", 2**63)[:4],
    ],
)
def test_announced_sizes_are_not_believed(body):
    assert code_of(b"\x80\x04" + body) in ("checkpoint_damaged", "checkpoint_unsafe")


def test_a_far_place_in_memory_takes_no_room():
    assert read(b"\x80\x04Nr\xff\xff\xff\xffj\xff\xff\xff\xff\x86.") == (None, None)


def test_many_instructions_and_much_text_are_refused():
    assert code_of(b"\x80\x04" + b"]" * 1001 + b".", budget=Budget(instructions=1000)) == "checkpoint_unsafe"
    assert code_of(pickle.dumps(["x" * 60, "y" * 60], 4), budget=Budget(text_bytes=100)) == "checkpoint_unsafe"


def test_streams_inside_count_against_the_same_budget():
    data = pickle.dumps([torch.zeros(1) for _ in range(50)], 4)
    read(data, budget=Budget(instructions=10_000))
    assert code_of(data, budget=Budget(instructions=2_000)) == "checkpoint_unsafe"


def billion_laughs() -> bytes:
    """2**60 leaves in 300 bytes: each level is a pair of the level before."""
    return b"N\x94" + b"".join(b"h" + bytes([level]) + b"\x86\x94" for level in range(60))


def test_shared_parts_are_never_multiplied(tmp_path):
    options = b"}" + text("x") + billion_laughs() + b"s"
    state = b"}" + text("_init_kwargs") + options + b"s"
    meta = b"}(" + text("type") + text("class") + text("class_name") + text("G") + text("state") + state + b"u"
    path = tmp_path / "laughs.pkl"
    path.write_bytes(b"\x80\x04}" + text("G_ema") + call(*PERSISTENT, meta) + b"s.")
    with pytest.raises(ModelError, match="options are far more"), open_contents(path):
        pass


def test_keys_of_storages_are_texts_and_not_endless_lists():
    stream = legacy(torch.zeros(2))
    start = stream.rindex(b"\x80\x02]")  # The list of keys.
    stop = stream.index(b".", start) + 1
    # Written out, the innermost of these pairs of pairs would fill every disk.
    data = stream[:start] + b"\x80\x02]" + billion_laughs() + b"a." + stream[stop:]
    assert stream_code(data) in ("checkpoint_unsafe", "checkpoint_damaged")


@pytest.mark.parametrize(
    "shape", [(10**9,) * 5000, ("a" * 10**6, 10**9), (-1,), (True,)], ids=["axes", "text", "-1", "bool"]
)
def test_sizes_of_arrays_are_looked_at_before_they_are_multiplied(shape):
    with pytest.raises(ModelError):
        contiguous_stride(shape)


def test_endless_names_of_parts_are_refused():
    module = PickledObject("G", {"_parameters": {"x" * 10_000: None}})
    with pytest.raises(ModelError, match="endless"):
        module_tensors(module)


def test_modules_within_themselves_are_refused():
    module = PickledObject("Loop")
    module.state["_modules"] = {"again": module}
    with pytest.raises(ModelError, match="nested deeper"):
        module_tensors(module)
    fork = PickledObject("Leaf", {})
    for _ in range(25):
        fork = PickledObject("Fork", {"_modules": {"left": fork, "right": fork}})
    with pytest.raises(ModelError, match="nested deeper"):
        module_tensors(fork)


@pytest.mark.parametrize("parts", [[], {1: None}, {("a",): None}])
def test_modules_with_odd_parts_are_refused(parts):
    with pytest.raises(ModelError, match="without names"):
        module_tensors(PickledObject("Odd", {"_parameters": parts}))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (11,), (1,)),
        (1, (10,), (1,)),
        (0, (2,), (10,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (9, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (1,) * 17, (1,) * 17),
        (0, (2**62, 2**62), (1, 1)),
    ],
)
def test_tensors_outside_of_their_storage_are_refused(offset, shape, stride):
    with pytest.raises(ModelError, match="refused"):
        LazyTensor(Storage(torch.float32, 10), offset, shape, stride)


def test_a_tensor_that_repeats_values_takes_no_memory():
    storage = Storage(torch.float32, 1)
    storage.place(source(bytes(4)))
    tensor = LazyTensor(storage, 0, (10**6, 10**6), (0, 0))
    with pytest.raises(ModelError, match="larger than the values"):
        tensor.read()


def legacy(values: torch.Tensor | dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def stream_code(data: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        read_legacy_stream(source(data), PLAIN, Budget())
    return caught.value.code


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


def test_whatever_the_bytes_say_nothing_is_run_imported_or_opened(tmp_path):
    """In a process of its own, because the tests' shape checks compile and run code all the time."""
    path = tmp_path / "changed.pkl"
    path.write_bytes(network_pickle())
    hostile = sorted(map(str, FOLDER.glob("*evil*.pkl")))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, path, *hostile], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    refused, total = map(int, done.stdout.split(" of "))
    assert total == 150 + len(hostile)
    assert refused > total / 3
