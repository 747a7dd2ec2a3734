# SPDX-License-Identifier: Apache-2.0
"""Numpy's zip files (``.npz``): one array for each entry. Arrays of objects, which are pickles, are never looked at.

Source:
    The description of the format in numpy's documentation (``numpy.lib.format``).
"""

import re
import zipfile
from collections.abc import Collection
from io import BufferedIOBase

from backend.checkpoint.plain import LazyTensor, NumpyType, array_of
from backend.checkpoint.source import ByteSource, in_memory, refuse
from backend.checkpoint.zip_directory import damage_is_told, zip_directory

MAX_BYTES = 2**29  # Of all arrays together; SMPL-X takes 200 MB.
MAX_HEADER_BYTES = 4096
MAGIC = b"\x93NUMPY"
HEADER = re.compile(
    r"\{'descr': '([<|])([a-zA-Z]\d+)', 'fortran_order': (True|False), 'shape': \(((?:\d{1,12}L?,? ?)*)\),? ?\}\s*"
)


def is_numpy_zip(file: BufferedIOBase) -> bool:
    """Whether a zip file holds numpy's arrays."""
    return any(info.filename.endswith(".npy") for info in zip_directory(file))


def read_numpy_zip(file: BufferedIOBase, wanted: Collection[str]) -> dict[str, LazyTensor]:
    """The arrays of the wanted names, as far as they are there, in memory; others stay unread.

    Raises:
        ModelError: The file is damaged, or an array is far too large or none of numbers.
    """
    named = {info.filename.removesuffix(".npy"): info for info in zip_directory(file)}
    chosen = {name: info for name, info in named.items() if name in wanted}
    if sum(info.file_size for info in chosen.values()) > MAX_BYTES:
        refuse("its arrays are far larger than any published body model's.")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in chosen.values()):
        refuse("its arrays are compressed as numpy never does.")
    with damage_is_told(), zipfile.ZipFile(file) as archive:
        packed = {name: archive.read(info) for name, info in chosen.items()}
    return {name: _array(name, data) for name, data in packed.items()}


def _array(name: str, data: bytes) -> LazyTensor:
    source = in_memory(data)
    header = HEADER.fullmatch(_header(source))
    if header is None:
        refuse(f"its array {ascii(name)[1:-1]} is none of plain numbers.")
    _, kind, is_fortran, sizes = header.groups()
    shape = tuple(int(size) for size in re.findall(r"\d+", sizes))
    values = source.skip(source.remaining)
    return array_of(values, NumpyType(kind), shape, is_fortran=is_fortran == "True")


def _header(source: ByteSource) -> str:
    if source.read(len(MAGIC)) != MAGIC:
        refuse("an entry of its zip file is no array.")
    length_bytes = {1: 2, 2: 4, 3: 4}.get(source.read_integer(1))
    source.skip(1)
    if length_bytes is None:
        refuse("an array in it has a version that no published file has.")
    length = source.read_integer(length_bytes)
    return source.read(length).decode("latin1") if length <= MAX_HEADER_BYTES else refuse("an array's header is huge.")
