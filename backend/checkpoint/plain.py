# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint may be made of, once read: plain values, containers, and these records that can do nothing."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backend.checkpoint.source import ByteSource, cut_short, in_memory, refuse

MAX_DIMENSIONS = 16
NUMPY_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "u2": torch.uint16,
    "u4": torch.uint32,
    "u8": torch.uint64,
    "b1": torch.bool,
}
STORAGE_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Global:
    """The name of something that the file refers to; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, eq=False)
class PickledObject:
    """An object of some class: the class by name, its attributes as plain data."""

    class_name: str
    state: dict[Any, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        """Take attributes; a dictionary."""
        if type(state) is not dict:
            refuse("an object in it has attributes that are no dictionary.")
        self.state.update(state)


@dataclass(frozen=True)
class NumpyType:
    """A numpy element type by its short name, such as ``f8``."""

    code: str

    @property
    def dtype(self) -> torch.dtype:
        """The same in torch."""
        if self.code not in NUMPY_DTYPES:
            refuse("it holds a numpy array of an unusual type.")
        return NUMPY_DTYPES[self.code]

    def set_state(self, state: Any) -> None:
        """Check the byte order, which is the only thing that the state says about plain numbers."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|"):
            refuse("it holds numbers in another byte order than published networks have.")


@dataclass(eq=False)
class NumpyArray:
    """A numpy array; empty until its state is set."""

    content: "LazyTensor | None" = None

    def set_state(self, state: Any) -> None:
        """Take numpy's own state of an array: version, shape, type, order and values."""
        _, shape, element, is_fortran, values = state
        if not isinstance(element, NumpyType) or type(shape) is not tuple:
            refuse("it holds an unusual numpy array.")
        self.content = array_of(as_bytes(values), element, shape, is_fortran=bool(is_fortran))


@dataclass(eq=False)
class Storage:
    """Elements of one type in a file.

    Args:
        dtype: Type of an element.
        numel: Number of elements.
        data: Where they lie; None as long as only announced.
    """

    dtype: torch.dtype
    numel: int
    data: ByteSource | None = None

    def place(self, data: ByteSource) -> None:
        """Say where the elements lie.

        Raises:
            ModelError: There is not exactly room for them.
        """
        if len(data) != self.numel * self.dtype.itemsize:
            refuse("it announces another number of values than it holds.")
        self.data = data


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """A tensor whose values are still in the file.

    Args:
        storage: Where the values lie.
        offset: Of the first value, in elements.
        shape: Not negative.
        stride: Not negative, in elements.

    Raises:
        ModelError: The tensor does not lie within its storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS:
            refuse("the shape and the strides of a tensor do not fit.")
        if any(type(number) is not int or number < 0 for number in (self.offset, *self.shape, *self.stride)):
            refuse("a tensor has a size, stride or offset that is no natural number.")
        if self.offset + self._span > self.storage.numel:
            refuse("a tensor reaches beyond the values that the file holds for it.")

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def _span(self) -> int:
        if self.numel == 0:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))

    def read(self) -> Tensor:
        """The values, contiguous, in memory of their own.

        Raises:
            ModelError: The file has become shorter, or the tensor repeats values to fill a shape larger than its data.
        """
        if self.numel > self._span:
            refuse("a tensor is larger than the values that the file holds for it.")
        if self.numel == 0:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        if self.storage.data is None:
            cut_short()
        itemsize = self.storage.dtype.itemsize
        data = self.storage.data.part(self.offset * itemsize, self._span * itemsize)
        if self.storage.dtype is torch.bool:
            return torch.frombuffer(data, dtype=torch.uint8).as_strided(self.shape, self.stride).contiguous() != 0
        return torch.frombuffer(data, dtype=self.storage.dtype).as_strided(self.shape, self.stride).contiguous()


def as_bytes(data: Any) -> ByteSource:
    """Bytes of a pickle. Python 2 wrote short ones as texts.

    Raises:
        ModelError: They are neither.
    """
    if type(data) is str:
        return in_memory(data.encode("latin1"))
    return data if isinstance(data, ByteSource) else refuse("values in it are no bytes.")


def array_of(values: ByteSource, element: NumpyType, shape: tuple[int, ...], *, is_fortran: bool) -> LazyTensor:
    """The tensor of a numpy array without gaps.

    Raises:
        ModelError: The values do not fill the shape.
    """
    stride = contiguous_stride(shape, is_fortran=is_fortran)
    storage = Storage(element.dtype, len(values) // element.dtype.itemsize)
    storage.place(values)
    return LazyTensor(storage, 0, shape, stride)


def held(values: Tensor) -> LazyTensor:
    """A tensor that is in memory, as those that are still in the file."""
    storage = Storage(values.dtype, values.numel())
    storage.place(in_memory(values.contiguous().numpy().tobytes()))
    return LazyTensor(storage, 0, tuple(values.shape), contiguous_stride(tuple(values.shape)))


def contiguous_stride(shape: tuple[Any, ...], *, is_fortran: bool = False) -> tuple[int, ...]:
    """Strides, in elements, of an array without gaps; last axis closest, or first one in Fortran's order.

    Raises:
        ModelError: There are more axes than any array has, or a size is no natural number.
    """
    # Before anything is multiplied: sizes from a file may be texts, and millions.
    if len(shape) > MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        refuse("the shape of an array is none.")
    if is_fortran:
        return contiguous_stride(shape[::-1])[::-1]
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
