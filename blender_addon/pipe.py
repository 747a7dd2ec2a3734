# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipes that never wait, on every platform Blender runs on.

POSIX has non-blocking descriptors. Windows pipes made by ``subprocess`` have none in Python 3.11, so reading asks
``PeekNamedPipe`` first how much is there, and writing switches its own end to ``PIPE_NOWAIT``.

Source:
    learn.microsoft.com: PeekNamedPipe, SetNamedPipeHandleState, "Named Pipe Type, Read, and Wait Modes".
"""

from __future__ import annotations

import errno
import os
import sys

READ_BYTES = 1 << 18

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    WRITE_BYTES = 1024  # A no-wait pipe takes a write whole or not at all; its default buffer is 4096 bytes.
    ERROR_BROKEN_PIPE = 109
    ERROR_PIPE_NOT_CONNECTED = 233
    PIPE_NOWAIT = 1

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _peek = _kernel32.PeekNamedPipe
    _peek.argtypes = (
        wintypes.HANDLE,
        wintypes.LPVOID,
        wintypes.DWORD,
        wintypes.LPDWORD,
        wintypes.LPDWORD,
        wintypes.LPDWORD,
    )
    _peek.restype = wintypes.BOOL
    _set_state = _kernel32.SetNamedPipeHandleState
    _set_state.argtypes = (wintypes.HANDLE, wintypes.LPDWORD, wintypes.LPDWORD, wintypes.LPDWORD)
    _set_state.restype = wintypes.BOOL

    def stop_waiting(read_end: int, write_end: int | None) -> None:
        """Make both descriptors fit for ``read_available`` and ``write_some``."""
        del read_end  # ``read_available`` looks before it reads.
        if write_end is not None:
            mode = wintypes.DWORD(PIPE_NOWAIT)
            if not _set_state(msvcrt.get_osfhandle(write_end), ctypes.byref(mode), None, None):
                raise ctypes.WinError(ctypes.get_last_error())

    def read_available(read_end: int) -> bytes:
        """What has arrived, perhaps nothing.

        Raises:
            EOFError: The other side has closed the pipe and everything was read.
        """
        waiting = wintypes.DWORD(0)
        if not _peek(msvcrt.get_osfhandle(read_end), None, 0, None, ctypes.byref(waiting), None):
            error = ctypes.get_last_error()
            if error in (ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED):
                raise EOFError
            raise ctypes.WinError(error)
        return os.read(read_end, min(waiting.value, READ_BYTES)) if waiting.value else b""

else:
    WRITE_BYTES = 1 << 16

    def stop_waiting(read_end: int, write_end: int | None) -> None:
        """Make both descriptors fit for ``read_available`` and ``write_some``."""
        os.set_blocking(read_end, False)
        if write_end is not None:
            os.set_blocking(write_end, False)

    def read_available(read_end: int) -> bytes:
        """What has arrived, perhaps nothing.

        Raises:
            EOFError: The other side has closed the pipe and everything was read.
        """
        try:
            data = os.read(read_end, READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise EOFError
        return data


def write_some(write_end: int, data: bytes | bytearray | memoryview) -> int:
    """Write as much as the pipe takes now; returns the number of bytes, perhaps 0.

    Raises:
        BrokenPipeError: The other side is gone.
    """
    try:
        return os.write(write_end, data[:WRITE_BYTES])
    except OSError as error:
        # A full no-wait pipe on Windows says "no space", see CPython issue 11395.
        if error.errno in (errno.EAGAIN, errno.ENOSPC):
            return 0
        raise
