# SPDX-License-Identifier: Apache-2.0
"""The tensors of a body model file of the SMPL family: the arrays in chumpy's and scipy's objects, made plain.

Files are those of the model's makers: pickles that Python 2 wrote, with objects of chumpy and scipy in them, which
stay records here, and numpy's ``.npz``.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from backend.checkpoint.plain import LazyTensor, NumpyArray, PickledObject, held
from backend.checkpoint.source import refuse
from backend.errors import ModelError
from backend.generator.body_model import TENSORS

MAX_SHAPES = 10  # Of the shape space; the paper's number.
MAX_VALUES = 2**27  # Of a sparse matrix written out; SMPL's has 165 360.
MAX_DEPTH = 4


def is_body(content: Mapping[Any, Any]) -> bool:
    """Whether a file's content is a body model's."""
    return "v_template" in content and "kintree_table" in content


def body_tensors(content: Mapping[Any, Any]) -> dict[str, LazyTensor]:
    """By the names that the file has for them.

    Raises:
        ModelError: One is missing, or is no array.
    """
    missing = [name for name in TENSORS if name not in content]
    if missing:
        raise ModelError(f"The body model lacks {', '.join(missing)}. Choose another file.", code="checkpoint_keys")
    tensors = {name: _array(name, content[name]) for name in TENSORS}
    tensors["shapedirs"] = _first_shapes(tensors["shapedirs"])
    tensors["f"] = held(_whole(tensors["f"]))
    parents = _whole(tensors["kintree_table"])
    # The root's parent is -1, written as the largest number of 32 bits.
    tensors["kintree_table"] = held(torch.where(parents >= 2**31, -1, parents))
    return tensors


def _array(name: str, value: Any, depth: int = 0) -> LazyTensor:
    if isinstance(value, LazyTensor):
        return value
    if isinstance(value, NumpyArray) and value.content is not None:
        return value.content
    if isinstance(value, PickledObject) and depth < MAX_DEPTH:
        if value.class_name.endswith("_matrix"):
            return held(_written_out(value))
        if "x" in value.state:  # Chumpy's leaves have their values there.
            return _array(name, value.state["x"], depth + 1)
    raise ModelError(f"The body model's {name} is no array. Choose another file.", code="checkpoint_kind")


def _first_shapes(shapes: LazyTensor) -> LazyTensor:
    if len(shapes.shape) != 3:
        return shapes  # Whoever compares shapes says so.
    kept = (*shapes.shape[:2], min(shapes.shape[2], MAX_SHAPES))
    return LazyTensor(shapes.storage, shapes.offset, kept, shapes.stride)


def _whole(values: LazyTensor) -> Tensor:
    read = values.read()
    if read.is_floating_point() or read.dtype is torch.bool:
        raise ModelError("The body model's triangles or joints are no whole numbers.", code="checkpoint_kind")
    return read.to(torch.int64)


def _written_out(matrix: PickledObject) -> Tensor:
    """A sparse matrix of scipy's as a dense one."""
    state = matrix.state
    shape = state.get("_shape", state.get("shape"))
    if type(shape) is not tuple or len(shape) != 2 or any(type(one) is not int or one < 1 for one in shape):
        refuse("a sparse matrix in it has no shape.")
    if shape[0] * shape[1] > MAX_VALUES:
        refuse("a sparse matrix in it is far larger than any published body model's.")
    values = _array("sparse matrix", state.get("data")).read()
    rows, columns = _places(matrix.class_name, state, shape)
    if not values.ndim == rows.ndim == columns.ndim == 1 or not len(values) == len(rows) == len(columns):
        refuse("a sparse matrix in it has other numbers of places and values.")
    if ((rows < 0) | (rows >= shape[0]) | (columns < 0) | (columns >= shape[1])).any():
        refuse("a sparse matrix in it has values outside of its shape.")
    return torch.zeros(shape, dtype=values.dtype).index_put((rows, columns), values, accumulate=True)


def _places(kind: str, state: Mapping[Any, Any], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column of each value."""

    def numbers(name: str) -> Tensor:
        return _whole(_array("sparse matrix", state.get(name)))

    if kind == "coo_matrix":
        return numbers("row"), numbers("col")
    inner, starts = numbers("indices"), numbers("indptr")
    count = shape[1] if kind == "csc_matrix" else shape[0]
    steps = starts.diff()
    if starts.shape != (count + 1,) or int(starts[0]) or int(starts[-1]) != len(inner) or (steps < 0).any():
        refuse("a sparse matrix in it has rows or columns that do not follow each other.")
    outer = torch.arange(count).repeat_interleave(steps)
    return (inner, outer) if kind == "csc_matrix" else (outer, inner)
