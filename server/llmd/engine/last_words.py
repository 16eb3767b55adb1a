"""What a worker says on its standard error: for the log, and for the reason of its end."""

from __future__ import annotations

import asyncio
import logging

MAX_LINE_BYTES = 500

_log = logging.getLogger("llmd.worker")


class LastWords:
    def __init__(self) -> None:
        self.last = ""

    async def read(self, stream: asyncio.StreamReader | None) -> None:
        """Until the worker's end. A line that is too long is cut."""
        rest = b""
        while stream and (data := await stream.read(1 << 12)):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(line)
            rest = rest[:MAX_LINE_BYTES]
        self._take(rest)

    def _take(self, line: bytes) -> None:
        if said := line[:MAX_LINE_BYTES].decode(errors="replace").strip():
            self.last = said
            _log.info("%s", said)
