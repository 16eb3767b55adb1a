"""Server-sent events: `data: JSON` and an empty line. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

_DATA = b"data:"


class Events:
    """Turns pieces of any size into the objects of their data lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[dict[str, Any]]:
        """Yields each object that `piece` completes; other lines, and `[DONE]`, are left out.

        Raises:
            msgspec.MsgspecError: the data is no JSON.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(_DATA).strip()
            if line.startswith(_DATA) and data != b"[DONE]":
                found = msgspec.json.decode(data)
                if isinstance(found, dict):
                    yield found
