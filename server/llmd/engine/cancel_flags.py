"""Cancels requests by flags in memory that daemon and worker share.

Each request id, modulo N_FLAGS, has two flags. llama.cpp reads the abort flag in the middle of a
decode; a zero byte follows the abort flag, so that libc's `strlen` at its address is the abort
callback. The worker reads the after-batch flag between batches only, so that the batch in progress
is kept.
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
_NEVER_AT = N_FLAGS * FLAG_BYTES  # an abort flag that is never set
_AFTER_BATCH_AT = _NEVER_AT + FLAG_BYTES
_N_BYTES = _AFTER_BATCH_AT + N_FLAGS


class CancelFlags:
    """Sets the flags, in the daemon."""

    def __init__(self) -> None:
        self._file = _shared_file()
        self._file.truncate(_N_BYTES)
        self._bytes = mmap.mmap(self._file.fileno(), _N_BYTES)

    def fileno(self) -> int:
        return self._file.fileno()

    def clear(self, id_: int) -> None:
        self._bytes[_abort_at(id_)] = self._bytes[_after_batch_at(id_)] = 0

    def set(self, id_: int, after_batch: bool) -> None:
        self._bytes[_after_batch_at(id_) if after_batch else _abort_at(id_)] = 1


class CancelFlagReader:
    """Reads the flags, in the worker."""

    def __init__(self, fd: int) -> None:
        self._bytes = mmap.mmap(fd, _N_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))
        self.never = self._address + _NEVER_AT  # address of an abort flag that is never set

    def is_set(self, id_: int) -> bool:
        return bool(self._bytes[_abort_at(id_)] or self._bytes[_after_batch_at(id_)])

    def address(self, id_: int) -> int:
        """Returns the address of the abort flag."""
        return self._address + _abort_at(id_)


def _abort_at(id_: int) -> int:
    return id_ % N_FLAGS * FLAG_BYTES


def _after_batch_at(id_: int) -> int:
    return _AFTER_BATCH_AT + id_ % N_FLAGS


def _shared_file() -> IO[bytes]:
    """Returns a file for the worker to map; in memory where the system offers that: writing to the
    map of a file on a full disk raises SIGBUS."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("llmd-flags"), "w+b")
    return tempfile.TemporaryFile()
