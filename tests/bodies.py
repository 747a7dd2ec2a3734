# SPDX-License-Identifier: Apache-2.0
"""Small body models in the layout of SMPL's files, and those files as Python 2 wrote them, opcode by opcode.

The body is a ball for a head on an ellipsoid for a torso; nothing in it is SMPL's.
"""

import struct
from dataclasses import dataclass

import numpy as np
import torch
import trimesh

from backend.generator.body_model import BodyModel

# The tree of SMPL's joints: 0 is the root, 9 the highest of the spine, 12 the neck, 15 the head.
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
SPINE, NECK, HEAD = 9, 12, 15
NECK_PLACE = np.array([0.02, 1.4, -0.03])
HEAD_PLACE = NECK_PLACE + np.array([0.0, 0.1, 0.04])


@dataclass(frozen=True)
class Ch:
    """Stands for chumpy's leaf."""

    x: np.ndarray


@dataclass(frozen=True)
class Csc:
    """Stands for scipy's sparse matrix with columns one behind the other."""

    dense: np.ndarray


@dataclass(frozen=True)
class Written:
    """Bytes of a pickle as they are."""

    data: bytes


def body_arrays(*, subdivisions: int = 2, shapes: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    """All arrays of a body model, dense; metres."""
    random = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    count = len(ball.vertices)
    head = ball.vertices * [0.09, 0.12, 0.1] + HEAD_PLACE + [0, 0.08, 0.02]
    torso = ball.vertices * [0.2, 0.16, 0.12] + NECK_PLACE - [0, 0.2, 0]
    template = np.concatenate([head, torso])
    joints = NECK_PLACE + random.normal(0, 0.3, (24, 3))
    joints[NECK], joints[HEAD] = NECK_PLACE, HEAD_PLACE
    weights = np.zeros((2 * count, 24))
    weights[:count, HEAD] = 1
    with_neck = np.clip((torso[:, 1] - torso[:, 1].max() + 0.05) / 0.1, 0, 1)
    weights[count:, NECK], weights[count:, SPINE] = with_neck, 1 - with_neck
    return {
        "v_template": template,
        "shapedirs": random.normal(0, 0.01, (2 * count, 3, shapes)),
        "posedirs": random.normal(0, 0.001, (2 * count, 3, 207)),
        "J_regressor": _regressor(template, joints),
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)], dtype=np.uint32),
        "f": np.concatenate([ball.faces, ball.faces + count]).astype(np.uint32),
    }


def body_tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """As an installed model's file holds them."""
    tensors = {
        name: torch.from_numpy(array.astype(np.int64 if array.dtype.kind == "u" else float))
        for name, array in arrays.items()
    }
    tensors["kintree_table"][0, 0] = -1
    return tensors


def small_body(*, corrections: float = 1.0, scale: float = 1.0) -> BodyModel:
    """The body, with other corrections or in another unit."""
    arrays = body_arrays()
    arrays["posedirs"] *= corrections
    arrays["v_template"] *= scale
    return BodyModel.from_tensors(body_tensors(arrays))


def _regressor(template: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Each joint by four vertices that span space; all other entries are 0."""
    spanning = [int(np.argmax(template @ direction)) for direction in ([1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1])]
    corners = np.vstack([template[spanning].T, np.ones(4)])
    regressor = np.zeros((len(joints), len(template)))
    regressor[:, spanning] = np.linalg.solve(corners, np.vstack([joints.T, np.ones(len(joints))])).T
    return regressor


def as_published(arrays: dict[str, np.ndarray]) -> dict[str, object]:
    """With the objects and the further entries that the published files have."""
    return {
        **arrays,
        "shapedirs": Ch(arrays["shapedirs"]),
        "J_regressor": Csc(arrays["J_regressor"]),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "J": arrays["J_regressor"] @ arrays["v_template"],
        "weights_prior": np.asfortranarray(arrays["weights"]),
    }


def python2_pickle(value: object, protocol: int) -> bytes:
    """A value as Python 2 wrote it, without memo."""
    return (_written(value, _Text()) if protocol == 0 else b"\x80\x02" + _written(value, _Binary())) + b"."


class _Text:
    """Protocol 0."""

    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"

    def element(self, kind: bytes) -> bytes:
        return b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb" % kind

    def instance(self, name: bytes) -> bytes:
        return b"ccopy_reg\n_reconstructor\n(c%s\nc__builtin__\nobject\nNtR" % name

    def pairs(self, pairs: list[bytes]) -> bytes:
        return b"(dp7\n" + b"".join(pair + b"s" for pair in pairs)

    def truth(self, value: bool) -> bytes:
        return b"I01\n" if value else b"I00\n"

    def integer(self, value: int) -> bytes:
        return b"I%d\n" % value if value < 2**31 else b"L%dL\n" % value

    def text(self, value: bytes) -> bytes:
        # As Python 3 shows bytes, but for the letter before the quotes.
        return repr(value).replace("b", "S", 1).encode() + b"\n"


class _Binary:
    """Protocol 2."""

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"

    def element(self, kind: bytes) -> bytes:
        made = b"cnumpy\ndtype\nU%c%sK\x00K\x01\x87R" % (len(kind), kind)
        return made + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"

    def instance(self, name: bytes) -> bytes:
        return b"c%s\n)\x81" % name

    def pairs(self, pairs: list[bytes]) -> bytes:
        return b"}(" + b"".join(pairs) + b"u"

    def truth(self, value: bool) -> bytes:
        return b"\x88" if value else b"\x89"

    def integer(self, value: int) -> bytes:
        return b"\x8a\x05" + value.to_bytes(5, "little", signed=True)

    def text(self, value: bytes) -> bytes:
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value


def _written(value: object, how: _Text | _Binary) -> bytes:
    match value:
        case tuple():
            return b"(" + b"".join(_written(one, how) for one in value) + b"t"
        case dict():
            return how.pairs([_written(name, how) + _written(one, how) for name, one in value.items()])
        case Ch() | Csc():
            name, state = _object(value)
            return how.instance(name) + _written(state, how) + b"b"
        case np.ndarray():
            shape, order, data = (_written(one, how) for one in (value.shape, _is_fortran(value), value.tobytes("A")))
            return how.array + shape + how.element(value.dtype.str[1:].encode()) + order + data + b"tb"
    return _plain(value, how)


def _plain(value: object, how: _Text | _Binary) -> bytes:
    match value:
        case Written(data):
            return data
        case None:
            return b"N"
        case bool():
            return how.truth(value)
        case int():
            return how.integer(value)
        case str():
            return how.text(value.encode("latin1"))
        case bytes():
            return how.text(value)
    raise TypeError(type(value))


def _object(value: object) -> tuple[bytes, dict[str, object]]:
    match value:
        case Ch(x):
            return b"chumpy.ch\nCh", {"_dirty_vars": None, "_itr": None, "x": x}
        case Csc(dense):
            columns, rows = np.nonzero(dense.T)
            starts = np.searchsorted(columns, np.arange(dense.shape[1] + 1)).astype(np.int32)
            places = {"indices": rows.astype(np.int32), "indptr": starts, "data": dense[rows, columns]}
            return b"scipy.sparse.csc\ncsc_matrix", {"_shape": dense.shape, "maxprint": 50, **places}
    raise TypeError(type(value))


def _is_fortran(array: np.ndarray) -> bool:
    return array.flags.f_contiguous and not array.flags.c_contiguous
