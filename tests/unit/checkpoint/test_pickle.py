# SPDX-License-Identifier: Apache-2.0
"""Our machine for pickles, as Python's own on plain data, and on published files."""

import pickle
import random
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.checkpoint.contents import open_contents
from backend.checkpoint.source import ByteSource
from backend.errors import ModelError
from tests.checkpoints import network_pickle, network_state
from tests.pickles import NONE, read
from tests.unit.parity import FOLDER, Fixture, fixtures


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
