# SPDX-License-Identifier: Apache-2.0
"""Reads pickles without running them: our own machine for the format's instructions, which can make plain data only.

Python's unpickler calls what a file names. This machine has nothing to call: a name in the file stays a ``Global``
record, and only a table of rebuilders, handed in by name, turns such records and their arguments into other records.
Large values stay in the file, and every instruction counts against a budget, so a small file cannot become large.

Source:
    PEP 307, PEP 3154 and PEP 574; the instruction list of the standard library's ``pickletools``.
"""

import codecs
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, no_type_check

from backend.checkpoint.plain import Global, NumpyArray, NumpyType, PickledObject
from backend.checkpoint.source import ByteSource, in_memory, refuse
from backend.errors import ModelError

MAX_TEXT_BYTES = 2**24
MAX_INTEGER_BYTES = 64
MAX_KEY = 2**31  # Larger numbers could be chosen to collide in a dictionary.
MAX_SHORT_STRING = 1024  # Bytes; Python 2 wrote texts and values alike, and texts are short.
STOP = 0x2E
# Found now: a codec's first use imports it, and nothing is imported because of a file.
_UNESCAPE, _UNESCAPE_UNICODE = codecs.getdecoder("unicode_escape"), codecs.getdecoder("raw_unicode_escape")

Rebuild = Callable[..., Any]


@dataclass
class Budget:
    """What reading a file may cost.

    Args:
        instructions: Of all pickles in the file; a published generator, discriminator and average take some 100 000.
        text_bytes: Of all texts; each object carries the source text of its class, a few kilobytes.
    """

    instructions: int = 2_000_000
    text_bytes: int = 2**28

    @no_type_check
    def spend(self, *, text_bytes: int = 0) -> None:
        """Pay for one instruction.

        Raises:
            ModelError: The budget is used up.
        """
        self.instructions -= 1
        self.text_bytes -= text_bytes
        if self.instructions < 0 or self.text_bytes < 0:
            refuse("it is built of far more pieces than any published network.")


@dataclass(frozen=True)
class Allowed:
    """What a pickle may name, by the full names in the file.

    Args:
        calls: Rebuilders, called with the arguments that the file gives.
        classes: Classes whose objects become ``PickledObject`` records.
        values: Names that only stand for themselves.
        persistent: Rebuilds what the file keeps outside of the pickle; None if there is no such thing.
        is_old: Whether it may be one of Python 2, or of the protocols 0 and 1 that Python 2 preferred.
    """

    calls: Mapping[str, Rebuild]
    classes: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    persistent: Rebuild | None = None
    is_old: bool = False

    def __contains__(self, name: str) -> bool:
        return name in self.calls or name in self.classes or name in self.values


def read_pickle(source: ByteSource, allowed: Allowed, budget: Budget) -> Any:
    """The value of one pickle; ``source`` then stands behind it.

    Raises:
        ModelError: The pickle is damaged, or names or does something that is not allowed.
    """
    machine = _Machine(source, allowed, budget)
    try:
        return machine.run()
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise ModelError(
            "The file is damaged: its pickle makes no sense. Download it again.", code="checkpoint_damaged"
        ) from error


@no_type_check  # An instruction takes a microsecond; the tests' check of its arguments would take thirty.
class _Machine:
    """A stack, the stacks below its marks, and a memory."""

    def __init__(self, source: ByteSource, allowed: Allowed, budget: Budget) -> None:
        self.source = source
        self.allowed = allowed
        self.budget = budget
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memory: dict[int, Any] = {}
        self.instructions = _WITH_OLD_INSTRUCTIONS if allowed.is_old else _INSTRUCTIONS

    def run(self) -> Any:
        while (code := self.source.read(1)[0]) != STOP:
            self.budget.spend()
            if code not in self.instructions:
                refuse(f"its pickle uses instruction {code:#04x}, which no published network needs.")
            self.instructions[code](self)
        if len(self.stack) != 1 or self.below:
            raise ValueError("a pickle leaves one value")
        return self.stack[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def push_mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def push_text(self, size_bytes: int) -> None:
        size = self.source.read_integer(size_bytes)
        if size > MAX_TEXT_BYTES:
            refuse("it holds a text larger than any published network's.")
        self.budget.spend(text_bytes=size)
        self.stack.append(self.source.read(size).decode("utf-8", "surrogatepass"))

    def push_bytes(self, size_bytes: int) -> None:
        self.stack.append(self.source.skip(self.source.read_integer(size_bytes)))

    def push_byte_string(self, size_bytes: int) -> None:
        size = self.source.read_integer(size_bytes)
        short = size <= MAX_SHORT_STRING
        self.stack.append(self.source.read(size).decode("latin1") if short else self.source.skip(size))

    def push_written_string(self) -> None:
        """What Python 2 wrote as in its source text: in quotes, with escapes."""
        line = self.source.read_long_line()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise ValueError("a string is quoted")
        with warnings.catch_warnings(action="ignore"):  # Of escapes that are none.
            text, _ = _UNESCAPE(line[1:-1])
        self.stack.append(text if len(text) <= MAX_SHORT_STRING else in_memory(text.encode("latin1")))

    def push_written_text(self) -> None:
        line = self.source.read_long_line()
        self.budget.spend(text_bytes=len(line))
        self.stack.append(_UNESCAPE_UNICODE(line)[0])

    def push_written_integer(self) -> None:
        line = self.source.read_line().removesuffix("L")
        self.stack.append({"00": False, "01": True}[line] if line in ("00", "01") else int(line))

    def push_list(self) -> None:
        items = self.pop_mark()
        self.stack.append(items)

    def push_dictionary(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.set_items(items)

    def push_integer(self, size_bytes: int) -> None:
        size = self.source.read_integer(size_bytes)
        if size > MAX_INTEGER_BYTES:
            refuse("it holds a number with too many digits.")
        self.stack.append(int.from_bytes(self.source.read(size), "little", signed=True))

    def push_packed(self, layout: str) -> None:
        self.stack.extend(struct.unpack(layout, self.source.read(struct.calcsize(layout))))

    def push_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise IndexError("stack")
        at = len(self.stack) - length
        self.stack[at:] = [tuple(self.stack[at:])]

    def push_marked_tuple(self) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is set:
            target.update(_as_key(item) for item in items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise TypeError("neither a list nor a set")

    def add_item(self) -> None:
        item = self.stack.pop()
        self.add_items([item])

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError("no dictionary")
        target.update(zip(map(_as_key, items[::2]), items[1::2], strict=True))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def remember(self, place: int) -> None:
        self.memory[place] = self.stack[-1]

    def recall(self, size_bytes: int) -> None:
        self.stack.append(self.memory[self.source.read_integer(size_bytes)])

    def push_global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a name is a text")
        wanted = Global(module, name)
        if "." in name or str(wanted) not in self.allowed:
            refuse(f"it names {_shown(str(wanted))}, which is not on the short list of what published networks need.")
        self.stack.append(wanted)

    def push_stacked_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_global(module, name)

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            raise TypeError("only a name can be called, with a tuple")
        if str(function) not in self.allowed.calls:
            refuse(f"it calls {_shown(str(function))}, which is not on the short list of what may be rebuilt.")
        self.stack.append(self.allowed.calls[str(function)](*arguments))

    def make_object(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if type(kind) is not Global or arguments != ():
            refuse("it makes an object in a way that no published network needs.")
        if str(kind) in self.allowed.classes:
            self.stack.append(PickledObject(kind.name))
        elif str(kind) in self.allowed.calls:
            self.stack.append(self.allowed.calls[str(kind)]())
        else:
            refuse(f"it makes an object of {_shown(str(kind))}, which is not on the short list.")

    def set_state(self) -> None:
        """Attributes of a record; those of a dictionary, such as the versions of modules, are dropped."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledObject | NumpyType | NumpyArray):
            target.set_state(state)
        elif type(target) is not dict:
            raise TypeError("nothing that has attributes")

    def push_persistent(self) -> None:
        if self.allowed.persistent is None:
            refuse("it refers to something outside of its pickle.")
        self.stack.append(self.allowed.persistent(self.stack.pop()))

    def check_protocol(self) -> None:
        if not 2 <= self.source.read_integer(1) <= 5:
            refuse("its pickle has a protocol that no published network uses.")


@no_type_check
def _as_key(key: Any) -> Any:
    if key is None or type(key) in (str, bool) or (type(key) is int and abs(key) < MAX_KEY):
        return key
    return refuse("a dictionary in it has keys other than texts and small numbers.")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")[1:-1]


_INSTRUCTIONS: dict[int, Callable[[_Machine], object]] = {
    0x80: _Machine.check_protocol,  # PROTO
    0x95: lambda machine: machine.source.read(8),  # FRAME, which only groups what follows
    0x4E: lambda machine: machine.push(None),  # NONE
    0x88: lambda machine: machine.push(True),  # NEWTRUE
    0x89: lambda machine: machine.push(False),  # NEWFALSE
    0x4A: lambda machine: machine.push_packed("<i"),  # BININT
    0x4B: lambda machine: machine.push_packed("<B"),  # BININT1
    0x4D: lambda machine: machine.push_packed("<H"),  # BININT2
    0x47: lambda machine: machine.push_packed(">d"),  # BINFLOAT
    0x8A: lambda machine: machine.push_integer(1),  # LONG1
    0x8B: lambda machine: machine.push_integer(4),  # LONG4
    0x8C: lambda machine: machine.push_text(1),  # SHORT_BINUNICODE
    0x58: lambda machine: machine.push_text(4),  # BINUNICODE
    0x8D: lambda machine: machine.push_text(8),  # BINUNICODE8
    0x43: lambda machine: machine.push_bytes(1),  # SHORT_BINBYTES
    0x42: lambda machine: machine.push_bytes(4),  # BINBYTES
    0x8E: lambda machine: machine.push_bytes(8),  # BINBYTES8
    0x28: _Machine.push_mark,  # MARK
    0x29: lambda machine: machine.push(()),  # EMPTY_TUPLE
    0x85: lambda machine: machine.push_tuple(1),  # TUPLE1
    0x86: lambda machine: machine.push_tuple(2),  # TUPLE2
    0x87: lambda machine: machine.push_tuple(3),  # TUPLE3
    0x74: _Machine.push_marked_tuple,  # TUPLE
    0x5D: lambda machine: machine.push([]),  # EMPTY_LIST
    0x61: _Machine.add_item,  # APPEND
    0x65: lambda machine: machine.add_items(machine.pop_mark()),  # APPENDS
    0x7D: lambda machine: machine.push({}),  # EMPTY_DICT
    0x73: _Machine.set_item,  # SETITEM
    0x75: lambda machine: machine.set_items(machine.pop_mark()),  # SETITEMS
    0x8F: lambda machine: machine.push(set()),  # EMPTY_SET
    0x90: lambda machine: machine.add_items(machine.pop_mark()),  # ADDITEMS
    0x94: lambda machine: machine.remember(len(machine.memory)),  # MEMOIZE
    0x71: lambda machine: machine.remember(machine.source.read_integer(1)),  # BINPUT
    0x72: lambda machine: machine.remember(machine.source.read_integer(4)),  # LONG_BINPUT
    0x68: lambda machine: machine.recall(1),  # BINGET
    0x6A: lambda machine: machine.recall(4),  # LONG_BINGET
    0x63: lambda machine: machine.push_global(machine.source.read_line(), machine.source.read_line()),  # GLOBAL
    0x93: _Machine.push_stacked_global,  # STACK_GLOBAL
    0x52: _Machine.call,  # REDUCE
    0x81: _Machine.make_object,  # NEWOBJ
    0x62: _Machine.set_state,  # BUILD
    0x51: _Machine.push_persistent,  # BINPERSID
}

_WITH_OLD_INSTRUCTIONS: dict[int, Callable[[_Machine], object]] = _INSTRUCTIONS | {
    0x53: _Machine.push_written_string,  # STRING
    0x54: lambda machine: machine.push_byte_string(4),  # BINSTRING
    0x55: lambda machine: machine.push_byte_string(1),  # SHORT_BINSTRING
    0x56: _Machine.push_written_text,  # UNICODE
    0x49: _Machine.push_written_integer,  # INT
    0x4C: _Machine.push_written_integer,  # LONG
    0x46: lambda machine: machine.push(float(machine.source.read_line())),  # FLOAT
    0x6C: _Machine.push_list,  # LIST
    0x64: _Machine.push_dictionary,  # DICT
    0x70: lambda machine: machine.remember(int(machine.source.read_line())),  # PUT
    0x67: lambda machine: machine.push(machine.memory[int(machine.source.read_line())]),  # GET
}
