# SPDX-License-Identifier: Apache-2.0
"""Body model files as their makers wrote them: read without running anything, installed like other models."""

import contextlib
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from backend import catalogue
from backend.checkpoint.contents import open_contents
from backend.checkpoint.install import add_model
from backend.checkpoint.licences import PUBLISHED
from backend.checkpoint.numpy_zip import MAX_BYTES, read_numpy_zip
from backend.checkpoint.upkeep import verify_model
from backend.errors import ModelError, SettingsError
from backend.generator.body_model import BodyModel
from backend.models import read_weights
from tests.bodies import Ch, Csc, Written, as_published, body_arrays, python2_pickle
from tests.checkpoints import accept, refused
from tests.pickles import code_of

ARRAYS = body_arrays(subdivisions=1)
KEPT = {**ARRAYS, "shapedirs": ARRAYS["shapedirs"][:, :, :10]}


def pickled(tmp_path, content: dict, protocol: int = 2):
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(python2_pickle(content, protocol))
    return tmp_path / "SMPL_NEUTRAL.pkl"


def zipped(tmp_path, *, compressed: bool = False, **arrays):
    (np.savez_compressed if compressed else np.savez)(tmp_path / "SMPL_NEUTRAL.npz", **arrays)
    return tmp_path / "SMPL_NEUTRAL.npz"


def check_tensors(tensors: dict[str, torch.Tensor]) -> None:
    assert tensors.keys() == KEPT.keys()
    for name, array in KEPT.items():
        found = tensors[name].numpy()
        if name == "kintree_table":
            assert found[0, 0] == -1
            np.testing.assert_array_equal(found[:, 1:], array[:, 1:])
        else:
            np.testing.assert_allclose(found, array, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("protocol", [0, 2])
def test_python_2_s_pickles_give_their_arrays(tmp_path, protocol):
    with open_contents(pickled(tmp_path, as_published(ARRAYS), protocol)) as contents:
        check_tensors({name: tensor.read() for name, tensor in contents.tensors.items()})


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_that_python_3_wrote_of_plain_arrays_are_read_too(tmp_path, protocol):
    (tmp_path / "body.pkl").write_bytes(pickle.dumps(ARRAYS, protocol))
    with open_contents(tmp_path / "body.pkl") as contents:
        check_tensors({name: tensor.read() for name, tensor in contents.tensors.items()})


@pytest.mark.parametrize("compressed", [False, True])
def test_numpy_s_zip_files_give_their_arrays_and_objects_beside_them_are_not_looked_at(tmp_path, compressed):
    odd = np.array({"a": 1}, dtype=object)
    path = zipped(tmp_path, compressed=compressed, **{**ARRAYS, "f": np.asfortranarray(ARRAYS["f"])}, part2num=odd)
    with open_contents(path) as contents:
        check_tensors({name: tensor.read() for name, tensor in contents.tensors.items()})


def test_a_body_is_installed_under_its_own_licence_and_moves(tmp_path):
    shown = []
    added = add_model(pickled(tmp_path, as_published(ARRAYS)), accept=lambda licence: not shown.append(licence))
    assert (added.name, added.family, added.remarks) == ("SMPL_NEUTRAL", "smpl-body", [])
    assert shown == [PUBLISHED["smpl-body"]] and added.licence.commercial_use == "no"
    found = catalogue.find_model("SMPL_NEUTRAL")
    assert verify_model(found) == 7
    tensors, _ = read_weights(found.path)
    check_tensors(tensors)
    body = BodyModel.from_tensors(tensors)
    np.testing.assert_allclose(body.posed(torch.zeros(24, 3).double()).vertices, ARRAYS["v_template"], atol=1e-6)


def test_the_commands_know_it_and_it_is_no_generator(tmp_path, models):
    assert "3DPortraitGAN" in models("add", str(pickled(tmp_path, as_published(ARRAYS))), "--accept-licence")
    assert "smpl-body" in models("list") and "commercial use: no" in models("show", "SMPL_NEUTRAL")
    assert "whole and unchanged" in models("verify", "SMPL_NEUTRAL")
    with pytest.raises(SettingsError, match="no generator"):
        catalogue.find_generator("SMPL_NEUTRAL")
    assert [one.name for one in catalogue.installed_helpers("smpl-body")] == ["SMPL_NEUTRAL"]
    assert catalogue.installed_helpers("arcface") == []
    models("remove", "SMPL_NEUTRAL", "--yes")
    assert catalogue.installed_helpers() == []


# --- what is refused --------------------------------------------------------------------------------------------------

SYSTEM = Written(b"cos\nsystem\n(S'true'\ntR")
# A chumpy object with other attributes than values, and one that holds itself at a depth that no file has.
BROKEN = {
    "lacks": ({name: value for name, value in ARRAYS.items() if name != "weights"}, "checkpoint_keys"),
    "shape": (ARRAYS | {"weights": ARRAYS["weights"][:-1]}, "checkpoint_shapes"),
    "joints": (ARRAYS | {"weights": ARRAYS["weights"][:, :16]}, "checkpoint_network"),
    "ranks": (ARRAYS | {"f": ARRAYS["f"][0]}, "checkpoint_shapes"),
    "no array": (ARRAYS | {"v_template": "none"}, "checkpoint_kind"),
    "no values": (ARRAYS | {"v_template": Ch("none")}, "checkpoint_kind"),
    "deep": (ARRAYS | {"v_template": Ch(Ch(Ch(Ch(Ch(Ch(ARRAYS["v_template"]))))))}, "checkpoint_kind"),
    "fractions": (ARRAYS | {"f": ARRAYS["f"].astype(float)}, "checkpoint_kind"),
    "NaN": (ARRAYS | {"v_template": ARRAYS["v_template"] * np.nan}, "checkpoint_values"),
    "corners": (ARRAYS | {"f": ARRAYS["f"] + 1}, "checkpoint_values"),
    "tree": (ARRAYS | {"kintree_table": ARRAYS["kintree_table"][::-1].copy()}, "checkpoint_values"),
    "a call": (ARRAYS | {"bs_type": SYSTEM}, "checkpoint_unsafe"),
    "a class": (ARRAYS | {"bs_type": Written(b"csubprocess\nPopen\n")}, "checkpoint_unsafe"),
    "another class": (
        ARRAYS | {"bs_type": Written(b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR")},
        "checkpoint_unsafe",
    ),
    "another base": (
        ARRAYS | {"bs_type": Written(b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\ncnumpy\nndarray\nNtR")},
        "checkpoint_unsafe",
    ),
    "old instances": (ARRAYS | {"bs_type": Written(b"(ichumpy.ch\nCh\n")}, "checkpoint_unsafe"),
    "objects": (ARRAYS | {"bs_type": Written(b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR")}, None),
}


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_and_hostile_files_are_refused_with_a_code(tmp_path, kind, protocol):
    content, code = BROKEN[kind]
    path = pickled(tmp_path, content, protocol)
    if code is None:  # An element type that is never used does no harm.
        assert add_model(path, accept=accept).family == "smpl-body"
    else:
        assert refused(lambda: add_model(path, accept=accept)).code == code


def sparse(**changes):
    """The state of a sparse matrix of 2 by 3, changed."""
    places = {"indices": np.array([0, 1]), "indptr": np.array([0, 1, 1, 2]), "data": np.ones(2)}
    return {"_shape": (2, 3), **places} | changes


@pytest.mark.parametrize(
    "state",
    [
        sparse(_shape=(2,)),
        sparse(_shape=(-2, 3)),
        sparse(_shape=(2**20, 2**20)),
        sparse(indptr=np.array([0, 1, 2])),
        sparse(indptr=np.array([0, 2, 1, 2])),
        sparse(indptr=np.array([0, 1, 1, 3])),
        sparse(indices=np.array([0, 2])),
        sparse(indices=np.array([0, -1])),
        sparse(data=np.ones(3)),
        sparse(data=np.ones((2, 1))),
        sparse(data="none"),
        {},
    ],
)
def test_sparse_matrices_that_contradict_themselves_are_refused(tmp_path, state):
    matrix = python2_pickle(state, 0)[:-1]
    made = b"ccopy_reg\n_reconstructor\n(cscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nNtR" + matrix + b"b"
    path = pickled(tmp_path, ARRAYS | {"J_regressor": Written(made)}, 0)
    assert refused(lambda: add_model(path, accept=accept)).code in ("checkpoint_unsafe", "checkpoint_kind")


@pytest.mark.parametrize(
    "body",
    [
        b"S'x\n", b"Sx'\n", b"S'\n", b"S'\\x4'\n", b"S'\\N{no such}'\n", b"S'x", b"T\xff\xff\xff\x7fx", b"U\x05x",
        b"Ix\n", b"I\n", b"Lx\n", b"Fx\n", b"l", b"d", b"(Nd", b"g1\n", b"gx\n", b"Np", b"p1\n", b"(((ld",
        b"V" + b"\\ud8zz\n",
    ],
)  # fmt: skip
def test_senseless_old_pickles_are_damaged(tmp_path, body):
    (tmp_path / "old.pkl").write_bytes(b"(dS'a'\n" + body + b"s.")
    error = refused(lambda: add_model(tmp_path / "old.pkl", accept=accept))
    assert error.code in ("checkpoint_damaged", "checkpoint_unsafe")


def test_networks_still_come_without_old_instructions():
    assert code_of(b"\x80\x04" + b"S'x'\n.") == "checkpoint_unsafe"


@pytest.mark.parametrize("protocol", [0, 2])
def test_every_cut_is_noticed(tmp_path, protocol):
    data = pickled(tmp_path, as_published(ARRAYS), protocol).read_bytes()
    path = tmp_path / "cut.pkl"
    for length in [*range(2, 300, 37), *range(300, len(data), len(data) // 10), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ModelError) as caught, open_contents(path):
            pass
        assert caught.value.code in ("checkpoint_damaged", "checkpoint_kind")


def npz_with(name: str, entry: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for other, array in ARRAYS.items():
            if other != name:
                content = io.BytesIO()
                np.save(content, array)
                archive.writestr(f"{other}.npy", content.getvalue())
        archive.writestr(f"{name}.npy", entry)
    return buffer.getvalue()


def entry(header: str, data: bytes = b"", version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PICKLE",
        entry("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([1])),
        entry("{'descr': '<f8', 'fortran_order': False, 'shape': (10**9,), }"),
        entry("{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 999999), }"),
        entry("{'descr': '>f8', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        entry("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", bytes(8)),
        entry("__import__('os')"),
        entry("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8), version=9),
        b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little"),
    ],
)
def test_entries_that_are_no_arrays_of_numbers_are_refused(tmp_path, content):
    (tmp_path / "body.npz").write_bytes(npz_with("v_template", content))
    error = refused(lambda: add_model(tmp_path / "body.npz", accept=accept))
    assert error.code in ("checkpoint_unsafe", "checkpoint_damaged")


def test_a_small_zip_file_cannot_become_a_large_one(tmp_path):
    path = zipped(tmp_path, compressed=True, **ARRAYS)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # The last entry of the directory says how long it will be.
    data[at + 24 : at + 28] = (MAX_BYTES + 1).to_bytes(4, "little")
    path.write_bytes(data)
    assert refused(lambda: add_model(path, accept=accept)).code == "checkpoint_unsafe"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_are_stored_or_deflated_and_nothing_else(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("f.npy", bytes(100))
    assert refused(lambda: read_numpy_zip(file, ["f"])).code == "checkpoint_unsafe"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damaged_byte_of_a_zip_file_is_a_mistake_of_the_program(save):
    file = io.BytesIO()
    save(file, f=np.arange(6.0), g=np.zeros((2, 2)))
    whole = file.getvalue()
    for at in range(len(whole)):
        with pytest.raises(ModelError):
            read_numpy_zip(io.BytesIO(whole[:at]), ["f", "g"])
        flipped = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        with contextlib.suppress(ModelError):  # A byte that nothing depends on may be any.
            assert set(read_numpy_zip(io.BytesIO(flipped), ["f", "g"])) <= {"f", "g"}


def test_other_arrays_are_no_body(tmp_path):
    assert refused(lambda: add_model(zipped(tmp_path, a=np.ones(3)), accept=accept)).code == "checkpoint_kind"


def test_models_with_hands_are_taken_with_a_remark(tmp_path):
    joints = 52
    more = np.concatenate([ARRAYS["kintree_table"][0], np.full(joints - 24, 20)]).astype(np.uint32)
    arrays = ARRAYS | {
        "weights": np.pad(ARRAYS["weights"], ((0, 0), (0, joints - 24))),
        "J_regressor": np.pad(ARRAYS["J_regressor"], ((0, joints - 24), (0, 0)), mode="edge"),
        "kintree_table": np.stack([more, np.arange(joints)]),
        "posedirs": np.zeros((*ARRAYS["v_template"].shape, 9 * (joints - 1))),
    }
    (remark,) = add_model(zipped(tmp_path, **arrays), accept=accept).remarks
    assert "SMPL+H" in remark


def test_scipy_s_three_kinds_of_sparse_matrices_are_written_out(tmp_path):
    dense = ARRAYS["J_regressor"]
    rows, columns = np.nonzero(dense)
    starts = np.searchsorted(rows, np.arange(len(dense) + 1))
    kinds = {
        "csr": {"_shape": dense.shape, "indices": columns, "indptr": starts, "data": dense[rows, columns]},
        "coo": {"_shape": dense.shape, "row": rows, "col": columns, "data": dense[rows, columns]},
    }
    for kind, state in kinds.items():
        made = b"cscipy.sparse._%s\n%s_matrix\n)\x81" % (kind.encode(), kind.encode())
        made += python2_pickle(state, 2)[2:-1] + b"b"
        with open_contents(pickled(tmp_path, ARRAYS | {"J_regressor": Written(made)})) as contents:
            np.testing.assert_array_equal(contents.tensors["J_regressor"].read(), dense)
    with open_contents(pickled(tmp_path, ARRAYS | {"J_regressor": Csc(dense)})) as contents:
        np.testing.assert_array_equal(contents.tensors["J_regressor"].read(), dense)
