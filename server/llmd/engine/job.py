"""One request to the engine, as the daemon holds it, and the flags that cancel requests."""

from __future__ import annotations

import asyncio
import mmap
import os
import sys
import tempfile
from collections.abc import Callable
from typing import IO

from llmd.engine import frames
from llmd.engine.frames import FLAG_BYTES, N_FLAGS, Done, Loaded
from llmd.trace import Cost


class CancelFlags:
    """A flag for each request id modulo N_FLAGS, in memory that the worker maps too."""

    def __init__(self) -> None:
        self._file = _shared_file()
        self._file.truncate(N_FLAGS * FLAG_BYTES + mmap.PAGESIZE)
        self._bytes = mmap.mmap(self._file.fileno(), 0)

    def fileno(self) -> int:
        return self._file.fileno()

    def set(self, id_: int, value: bool) -> None:
        self._bytes[id_ % N_FLAGS * FLAG_BYTES] = value


class Job:
    """One request to the engine.

    `answered` is done when the asker may go on, `finished` when the engine has stopped working.
    """

    def __init__(
        self,
        id_: int,
        flags: CancelFlags,
        make: Callable[[Loaded], frames.Infer],
        on_partial: Callable[[str], None] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id = id_
        self.make = make
        self.answered: asyncio.Future[Done] = loop.create_future()
        self.finished: asyncio.Future[Done] = loop.create_future()
        self._flags = flags
        self._on_partial = on_partial
        flags.set(id_, False)

    def cancel(self, reason: frames.StopReason = "cancelled") -> None:
        """Answers now; the engine sees the flag within one decode step."""
        if not self.finished.done():
            self._flags.set(self.id, True)
        if not self.answered.done():
            self.answered.set_result(Done(self.id, "", reason, Cost()))

    def show(self, text: str) -> None:
        if self._on_partial and not self.answered.done():
            self._on_partial(text)

    def finish(self, done: Done) -> None:
        for future in (self.answered, self.finished):
            if not future.done():
                future.set_result(done)


def failed(id_: int, reason: str) -> Done:
    return Done(id_, "", "failed", Cost(), reason)


def _shared_file() -> IO[bytes]:
    """A file for the worker to map; in memory where that can be, since writing to the map of a
    file on a full disk is SIGBUS."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("llmd-flags"), "w+b")
    return tempfile.TemporaryFile()
