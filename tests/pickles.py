# SPDX-License-Identifier: Apache-2.0
"""Pickles written by hand, opcode by opcode, and what our machine says to them."""

import io
import struct

import pytest
import torch

from backend.checkpoint.legacy_stream import read_legacy_stream
from backend.checkpoint.pickle_machine import Allowed, Budget, read_pickle
from backend.checkpoint.rebuild import PLAIN, allowed_in_network_pickles
from backend.checkpoint.source import ByteSource
from backend.errors import ModelError

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


LOAD = ("torch.storage", "_load_from_bytes")
TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PERSISTENT = ("torch_utils.persistence", "_reconstruct_persistent_obj")
ORDERED = ("collections", "OrderedDict")
EXEC = b"c__builtin__\nexec\n" + b"X" + struct.pack("<I", len(RUN)) + RUN.encode() + b"\x85R."


def billion_laughs() -> bytes:
    """2**60 leaves in 300 bytes: each level is a pair of the level before."""
    return b"N\x94" + b"".join(b"h" + bytes([level]) + b"\x86\x94" for level in range(60))


def legacy(values: torch.Tensor | dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def stream_code(data: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        read_legacy_stream(source(data), PLAIN, Budget())
    return caught.value.code
