"""The flags that cancel requests, in memory that daemon and worker share.

For each request id modulo N_FLAGS there are two: a hard flag, which llama.cpp sees in the middle
of a decode, and a gentle one, which is looked at between batches only, so that what is being
evaluated is kept. A hard flag is followed by a zero, so that libc's `strlen` at its address is the
abort callback.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile
from typing import IO

N_FLAGS = 4096
FLAG_BYTES = 2
_NEVER_AT = N_FLAGS * FLAG_BYTES  # a hard flag that nobody sets
_GENTLE_AT = _NEVER_AT + FLAG_BYTES
_N_BYTES = _GENTLE_AT + N_FLAGS


class CancelFlags:
    """The daemon's side: sets them."""

    def __init__(self) -> None:
        self._file = _shared_file()
        self._file.truncate(_N_BYTES)
        self._bytes = mmap.mmap(self._file.fileno(), _N_BYTES)

    def fileno(self) -> int:
        return self._file.fileno()

    def clear(self, id_: int) -> None:
        self._bytes[_hard_at(id_)] = self._bytes[_gentle_at(id_)] = 0

    def set(self, id_: int, after_batch: bool) -> None:
        self._bytes[_gentle_at(id_) if after_batch else _hard_at(id_)] = 1


class CancelFlagReader:
    """The worker's side: reads them."""

    def __init__(self, fd: int) -> None:
        self._bytes = mmap.mmap(fd, _N_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))

    def is_set(self, id_: int) -> bool:
        return bool(self._bytes[_hard_at(id_)] or self._bytes[_gentle_at(id_)])

    def address(self, id_: int) -> int:
        """Of the hard flag."""
        return self._address + _hard_at(id_)

    @property
    def never(self) -> int:
        return self._address + _NEVER_AT


def _hard_at(id_: int) -> int:
    return id_ % N_FLAGS * FLAG_BYTES


def _gentle_at(id_: int) -> int:
    return _GENTLE_AT + id_ % N_FLAGS


def _shared_file() -> IO[bytes]:
    """A file for the worker to map; in memory where that can be, since writing to the map of a
    file on a full disk is SIGBUS."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("llmd-flags"), "w+b")
    return tempfile.TemporaryFile()
