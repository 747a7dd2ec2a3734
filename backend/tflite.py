# SPDX-License-Identifier: Apache-2.0
"""Reads the TensorFlow Lite files of the photo networks into a plain list of operations.

Only what those files use is understood; anything else is a ``ModelError``. Tensors leave in torch's order:
channels before rows and columns.

Source:
    schema.fbs of TensorFlow Lite, version 3; custom operators as named in MediaPipe's files.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.errors import ModelError
from backend.flatbuffer import Table, flexbuffer_map, root_table

DTYPES: dict[int, type[np.generic]] = {0: np.float32, 1: np.float16, 2: np.int32}
CUSTOM = 32
KINDS = {
    0: "add",
    1: "average_pool",
    2: "concatenate",
    3: "convolve",
    4: "convolve_depthwise",
    6: "dequantize",
    14: "sigmoid",
    17: "max_pool",
    18: "multiply",
    19: "relu",
    22: "reshape",
    23: "resize_bilinear",
    34: "pad",
    45: "slice",
    54: "prelu",
    117: "hard_swish",
}
CUSTOM_KINDS = {
    "Convolution2DTransposeBias": "convolve_transposed",
    "Landmarks2TransformMatrix": "landmarks_to_matrix",
    "TransformTensorBilinear": "warp_tensor",
    "TransformLandmarks": "transform_landmarks",
}
NHWC_TO_NCHW = {0: 0, 1: 2, 2: 3, 3: 1}

Options = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One step of a network; inputs and output are tensor numbers of the file."""

    kind: str
    inputs: list[int]
    output: int
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network as data.

    Args:
        operations: In order of execution.
        input: Number of the input tensor.
        outputs: Numbers of the output tensors.
        weights: Constant tensors by number, as stored (half or single precision).
    """

    operations: list[Operation]
    input: int
    outputs: list[int]
    weights: dict[int, np.ndarray]


@dataclass(frozen=True)
class _Tensor:
    shape: list[int]
    constant: np.ndarray | None


@dataclass(frozen=True)
class _Step:
    """One operator of the file with all that its reader may ask for."""

    kind: str
    inputs: list[int]
    output: int
    table: Table | None
    custom: bytes
    tensors: list[_Tensor]
    constants: dict[int, np.ndarray]

    def option(self, index: int, layout: str = "<i", default: int = 0) -> int:
        return default if self.table is None else self.table.integer(index, layout, default)

    def require(self, fulfilled: bool, what: str) -> None:
        if not fulfilled:
            raise ModelError(f"The network file uses {what} in {self.kind}, which this version cannot run.")


def read_graph(data: bytes) -> Graph:
    """Reads a file's first graph.

    Raises:
        ModelError: The file is damaged, or uses something this reader does not know.
    """
    if data[4:8] != b"TFL3":
        raise ModelError("This is not a TensorFlow Lite file. Run scripts/fetch_photo_models.py again.")
    model = root_table(data)
    kinds = [_operator_kind(code) for code in model.tables(1)]
    buffers = [buffer.array(0, np.uint8) for buffer in model.tables(4)]
    graph = model.tables(2)[0]
    tensors = [_read_tensor(tensor, buffers) for tensor in graph.tables(0)]
    constants = {number: tensor.constant for number, tensor in enumerate(tensors) if tensor.constant is not None}
    operations: list[Operation] = []
    weights: dict[int, np.ndarray] = {}
    for operator in graph.tables(3):
        kind, inputs = kinds[operator.integer(0, "<I")], operator.array(1).tolist()
        output, custom = int(operator.array(2)[0]), operator.array(5, np.uint8).tobytes()
        if kind == "dequantize":
            constants[output] = constants[inputs[0]]
            continue
        step = _Step(kind, inputs, output, operator.table(4), custom, tensors, constants)
        operation = Operation(kind, _kept_inputs(step), output, _OPTIONS[kind](step))
        operations.append(operation)
        weights |= {number: _weight(step, number) for number in operation.inputs if number in constants}
    return Graph(operations, int(graph.array(1)[0]), graph.array(2).tolist(), weights)


def _operator_kind(code: Table) -> str:
    """Our name of an operator; files write small codes in field 0 and large ones in field 3."""
    number = max(code.integer(0, "<b"), code.integer(3))
    name = code.text(1) if number == CUSTOM else number
    kind = CUSTOM_KINDS.get(name) if isinstance(name, str) else KINDS.get(name)
    if kind is None:
        raise ModelError(f"The network file uses the operator {name}, which this version cannot run.")
    return kind


def _read_tensor(tensor: Table, buffers: list[np.ndarray]) -> _Tensor:
    shape = tensor.array(0).tolist()
    buffer = buffers[tensor.integer(2, "<I")]
    if not buffer.size:
        return _Tensor(shape, None)
    code = tensor.integer(1, "<b")
    if code not in DTYPES or tensor.table(6) is not None:
        raise ModelError(f"The network file stores numbers as type {code}, which this version cannot read.")
    return _Tensor(shape, np.frombuffer(buffer.tobytes(), DTYPES[code]).reshape(shape))


def _kept_inputs(step: _Step) -> list[int]:
    """Inputs that are data or weights; sizes and shapes become options instead."""
    return step.inputs[:1] if step.kind in {"pad", "resize_bilinear", "reshape", "slice"} else step.inputs


def _weight(step: _Step, number: int) -> np.ndarray:
    """A constant in torch's order of axes."""
    constant = step.constants[number]
    if constant.ndim == 4:
        order = (0, 3, 1, 2) if step.kind == "convolve" else (3, 0, 1, 2)
        return np.ascontiguousarray(constant.transpose(order))
    return constant.reshape(-1) if step.kind == "prelu" else constant


def _no_options(_: _Step) -> Options:
    return {}


def _convolution_options(step: _Step) -> Options:
    depthwise = step.kind == "convolve_depthwise"
    activation, dilation = (4, 5) if depthwise else (3, 4)
    step.require(step.option(activation, "<b") == 0, "an activation")
    step.require(step.option(dilation, default=1) == step.option(dilation + 1, default=1) == 1, "dilation")
    step.require(not depthwise or step.option(3) == 1, "a depth multiplier")
    step.require(step.option(1) == step.option(2), "uneven strides")
    return {"stride": step.option(1), "same": int(step.option(0, "<b") == 0)}


def _pool_options(step: _Step) -> Options:
    step.require(step.option(1) == step.option(2) and step.option(3) == step.option(4), "uneven windows")
    step.require(step.option(5, "<b") == 0, "an activation")
    rows, columns = step.tensors[step.inputs[0]].shape[1:3]
    step.require(rows % step.option(1) == columns % step.option(1) == 0, "windows that do not divide the input")
    return {"size": step.option(3), "stride": step.option(1)}


def _arithmetic_options(step: _Step) -> Options:
    step.require(step.option(0, "<b") == 0, "an activation")
    return {}


def _concatenate_options(step: _Step) -> Options:
    rank = len(step.tensors[step.output].shape)
    axis = step.option(0) % rank
    return {"axis": NHWC_TO_NCHW[axis] if rank == 4 else axis}


def _pad_options(step: _Step) -> Options:
    amounts = step.constants[step.inputs[1]].tolist()
    step.require(len(amounts) == 4, "padding of another rank")
    _, rows, columns, channels = amounts
    return {"amounts": [*columns, *rows, *channels]}


def _resize_options(step: _Step) -> Options:
    step.require(step.option(2, "<b") == 0 and step.option(3, "<b") == 1, "another pixel convention")
    return {"size": step.constants[step.inputs[1]].tolist()}


def _reshape_options(step: _Step) -> Options:
    return {"shape": step.tensors[step.output].shape[1:]}


def _slice_options(step: _Step) -> Options:
    begin, end = (step.constants[number].tolist() for number in step.inputs[1:3])
    step.require(not any(begin) and end == step.tensors[step.inputs[0]].shape, "a part of a tensor")
    return {}


def _transposed_options(step: _Step) -> Options:
    _, stride, stride_down = np.frombuffer(step.custom, np.int32).tolist()
    step.require(stride == stride_down, "uneven strides")
    return {"stride": stride}


def _custom_options(step: _Step) -> Options:
    options: Options = {}
    for name, value in (flexbuffer_map(step.custom) if step.custom else {}).items():
        if not isinstance(value, int | float | list):
            raise ModelError(f"The network file has an unknown value for {name} in {step.kind}.")
        options[name] = value
    return options


_OPTIONS = {
    "add": _arithmetic_options,
    "average_pool": _pool_options,
    "concatenate": _concatenate_options,
    "convolve": _convolution_options,
    "convolve_depthwise": _convolution_options,
    "convolve_transposed": _transposed_options,
    "hard_swish": _no_options,
    "landmarks_to_matrix": _custom_options,
    "max_pool": _pool_options,
    "multiply": _arithmetic_options,
    "pad": _pad_options,
    "prelu": _no_options,
    "relu": _no_options,
    "reshape": _reshape_options,
    "resize_bilinear": _resize_options,
    "sigmoid": _no_options,
    "slice": _slice_options,
    "transform_landmarks": _custom_options,
    "warp_tensor": _custom_options,
}
