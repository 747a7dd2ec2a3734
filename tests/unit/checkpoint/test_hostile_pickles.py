# SPDX-License-Identifier: Apache-2.0
"""All but plain data and tensors is refused, and no size that a pickle announces is believed."""

import pickle
import struct
import tempfile
from pathlib import Path

import pytest
import torch

from backend.checkpoint.contents import module_tensors, open_contents
from backend.checkpoint.pickle_machine import Budget
from backend.checkpoint.plain import LazyTensor, PickledObject, Storage, contiguous_stride
from backend.errors import ModelError
from tests.pickles import (
    EXEC,
    LOAD,
    ORDERED,
    PERSISTENT,
    RUN,
    TENSOR,
    billion_laughs,
    call,
    code_of,
    legacy,
    named,
    number,
    read,
    source,
    stream_code,
    text,
)


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
