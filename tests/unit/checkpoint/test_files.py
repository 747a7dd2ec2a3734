# SPDX-License-Identifier: Apache-2.0
"""Torch's and safetensors' files, whole and hostile, and files that are something else."""

import io
import os
import stat
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from backend.checkpoint import zip_directory
from backend.checkpoint.contents import open_contents
from backend.checkpoint.pickle_machine import Budget
from backend.checkpoint.torch_zip import read_torch_zip
from backend.errors import ModelError
from tests.checkpoints import HOSTILE_SAFETENSORS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


def refusal(path) -> ModelError:
    with pytest.raises(ModelError) as caught, open_contents(path) as contents:
        [tensor.read() for tensor in contents.tensors.values()]
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    return caught.value


def a_state() -> dict:
    base = torch.randn(10)
    parts = {"first": base[:5], "last": base[3:], "half": base.half()}
    return {"whole": torch.arange(6).reshape(2, 3), "n": torch.tensor(2), **parts}


@pytest.mark.parametrize("is_zip", [True, False])
def test_state_dicts_are_read_as_torch_reads_them(path, is_zip):
    state = a_state()
    with_versions = torch.nn.BatchNorm2d(3).state_dict()
    assert with_versions._metadata, "torch writes attributes of the dictionary, which are dropped"
    for content in (state, OrderedDict(state), with_versions):
        torch.save(content, path, _use_new_zipfile_serialization=is_zip)
        with open_contents(path) as contents:
            assert contents.tensors.keys() == content.keys() and contents.class_name is None
            assert all(torch.equal(contents.tensors[name].read(), content[name]) for name in content)


@pytest.mark.parametrize("is_zip", [True, False])
def test_both_kinds_of_triplanenets_files_are_understood(path, is_zip):
    state = a_state()
    average = np.arange(4, dtype=np.float32)
    torch.save(
        {"G_ema": state, "init_kwargs": {"z_dim": 4}, "latent_avg": average},
        path,
        _use_new_zipfile_serialization=is_zip,
    )
    with open_contents(path) as contents:
        assert contents.init_kwargs == {"z_dim": 4} and contents.class_name == "TriPlaneGenerator"
        assert contents.tensors.keys() == state.keys()
        assert contents.latent_avg.read().tolist() == average.tolist()
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    checkpoint = {"state_dict": state, "opts": {"lr": 1e-4, "list": [1]}, "best_val_loss": np.float64(0.5), "step": 7}
    torch.save({**checkpoint, "psp_optimizer": optimizer}, path, _use_new_zipfile_serialization=is_zip)
    with open_contents(path) as contents:
        assert contents.tensors.keys() == state.keys() and contents.class_name == "TriPlaneNet"


def test_safetensors_are_read_as_their_own_library_writes_them(path):
    state = {name: value.clone() for name, value in a_state().items()}
    save_file(state, path, {"licence": "CC0-1.0"})
    with open_contents(path) as contents:
        assert contents.notes == {"licence": "CC0-1.0"}
        assert all(torch.equal(contents.tensors[name].read(), state[name]) for name in state)


# --- hostile zip files ------------------------------------------------------------------------------------------------


def rewritten(path, change) -> None:
    """Save a good file, then write it anew with its entries changed."""
    torch.save({"a": torch.arange(4.0)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in change(entries):
            archive.writestr(info, data)


def with_name(name):
    return lambda entries: [*entries, (zipfile.ZipInfo(name), b"x")]


def with_link(entries):
    link = zipfile.ZipInfo("weights/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [*entries, (link, b"/etc/passwd")]


def compressed(entries):
    for info, _ in entries:
        info.compress_type = zipfile.ZIP_DEFLATED
    return entries


def bomb(entries):
    info = zipfile.ZipInfo("weights/data/1")
    info.compress_type = zipfile.ZIP_DEFLATED
    return [*entries, (info, bytes(10**7))]


def changed_entry(ending, data):
    return lambda entries: [(info, data if info.filename.endswith(ending) else old) for info, old in entries]


def without(ending):
    return lambda entries: [entry for entry in entries if not entry[0].filename.endswith(ending)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_name("../outside"), "leaves the folder"),
        (with_name("weights/../../outside"), "leaves the folder"),
        (with_name("/absolute"), "leaves the folder"),
        (with_name("C:\\windows"), "leaves the folder"),
        (with_link, "a link"),
        (compressed, "compressed"),
        (bomb, "compressed"),
        (with_name("other/data.pkl"), "none that torch.save wrote"),
        (with_name("weights/constants.pkl"), "TorchScript"),
        (changed_entry("byteorder", b"big"), "byte order"),
        (changed_entry("byteorder", b"little" * 100), "byte order"),
        (changed_entry("data/0", b"x" * 15), "another number of values"),
        (changed_entry("data/0", b"x" * 17), "another number of values"),
        (without("data/0"), "ends too early"),
        (without("data.pkl"), "none that torch.save wrote"),
        (changed_entry("data.pkl", b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."), "os.system"),
        (changed_entry("data.pkl", b"\x80\x02ctorch.storage\n_load_from_bytes\nN\x85R."), "_load_from_bytes"),
        (changed_entry("data.pkl", b"\x80\x02X\x01\0\0\0xQ."), "no plain storage"),
    ],
)
def test_hostile_zip_files_are_refused(path, change, sentence):
    rewritten(path, change)
    assert sentence in str(refusal(path))


def test_entries_named_twice_are_refused(path):
    with pytest.warns(UserWarning, match="Duplicate"):
        rewritten(path, lambda entries: [*entries, *entries[-1:]])
    assert "twice" in str(refusal(path))


def patched(path, signature: bytes, offset: int, data: bytes) -> None:
    """Change bytes behind every occurrence of a signature."""
    torch.save({"a": torch.arange(4.0)}, path)
    content = bytearray(path.read_bytes())
    at = content.find(signature)
    while at >= 0:
        content[at + offset : at + offset + len(data)] = data
        at = content.find(signature, at + 1)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("signature", "offset", "data", "sentence"),
    [
        (b"PK\x01\x02", 8, b"\x01\x00", "encrypted"),
        (b"PK\x01\x02", 42, b"\x00\x00\x00\x00", "another one than its directory says"),  # all entries at one place
        (b"PK\x03\x04", 30, b"other", "another one than its directory says"),
        (b"PK\x03\x04", 0, b"PK\x07\x08", "another one than its directory says"),
        (b"PK\x01\x02", 24, b"\xff\xff\xff\x7f", "compressed"),  # sizes differ
    ],
)
def test_directories_that_lie_are_refused(path, signature, offset, data, sentence):
    patched(path, signature, offset, data)
    assert sentence in str(refusal(path))


def test_a_huge_directory_is_not_read(path, monkeypatch):
    monkeypatch.setattr(zip_directory, "MAX_DIRECTORY_BYTES", 200)
    torch.save({f"tensor {i}": torch.zeros(1) for i in range(20)}, path)
    assert "far larger" in str(refusal(path))


@pytest.mark.parametrize("is_zip", [True, False])
def test_every_cut_of_a_torch_file_is_noticed(path, is_zip):
    torch.save({"a": torch.arange(4.0)}, path, _use_new_zipfile_serialization=is_zip)
    data = path.read_bytes()
    for length in [*range(0, len(data), len(data) // 25), len(data) - 1]:
        path.write_bytes(data[:length])
        assert refusal(path).code in ("checkpoint_damaged", "checkpoint_kind", "checkpoint_unsafe")


def test_a_whole_module_is_refused_by_the_name_of_its_class(path):
    torch.save(torch.nn.Linear(2, 2), path)
    assert "torch.nn.modules.linear.Linear" in str(refusal(path))


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(1)], torch.zeros(1), {}, {"a": 1}, {"a": torch.zeros(1), "epoch": 3}, {1: torch.zeros(1)}],
)
def test_torch_files_without_a_state_dict_say_so(path, content):
    torch.save(content, path)
    assert refusal(path).code in ("checkpoint_kind", "checkpoint_unsafe")


# --- hostile safetensors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", HOSTILE_SAFETENSORS)
def test_hostile_safetensors_are_refused(path, what):
    path.write_bytes(HOSTILE_SAFETENSORS[what])
    assert refusal(path).code == "model_damaged"


# --- other files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no weight file"),
        (b"\x80", "no weight file"),
        (b"\x80\x04", "ends too early"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\n <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x1f\x8b\x08" + bytes(30), "gzip"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "picture"),
        (b"glTF" + bytes(30), "3D model"),
        (b"PK\x03\x04" + bytes(30), "damaged"),
        (b"solid cube", "no weight file"),
        (b"\x80\x04N.", "no G_ema"),
        (b"\x80\x04}.", "no G_ema"),
    ],
)
def test_other_files_are_named(path, content, sentence):
    path.write_bytes(content)
    assert sentence in str(refusal(path))


def test_folders_and_missing_files_are_named(tmp_path):
    assert "folder" in str(refusal(tmp_path))
    assert "no file" in str(refusal(tmp_path / "missing.pkl"))


def replaced(path) -> None:
    path.rename(path.with_suffix(".old"))
    torch.save({"a": torch.zeros(3)}, path)


@pytest.mark.parametrize("change", [lambda path: os.utime(path, ns=(0, 0)), lambda path: path.unlink(), replaced])
def test_a_file_that_changes_while_it_is_read_is_refused(path, change):
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="changed while") as caught, open_contents(path):
        change(path)
    assert caught.value.code == "checkpoint_changed"


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(path):
    torch.save({"a": torch.zeros(300_000)}, path)
    with pytest.raises(ModelError, match="ends too early"), open_contents(path) as contents:
        os.truncate(path, 2000)
        contents.tensors["a"].read()


def test_an_unreadable_place_is_no_traceback(tmp_path):
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("permissions do not stop this user")
    (tmp_path / "secret.pkl").write_bytes(b"x")
    (tmp_path / "secret.pkl").chmod(0)
    assert "permission" in str(refusal(tmp_path / "secret.pkl")).lower()


def test_large_values_are_not_read_before_they_are_asked_for(path):
    torch.save({"a": torch.zeros(10**6), "b": torch.ones(3)}, path)

    class Counting(io.FileIO):
        count = 0

        def readinto(self, buffer):
            done = super().readinto(buffer)
            Counting.count += done
            return done

    with io.BufferedReader(Counting(path), buffer_size=512) as file:
        value = read_torch_zip(file, path.stat().st_size, Budget())
        assert value["b"].read().tolist() == [1, 1, 1]
        assert Counting.count < 200_000
