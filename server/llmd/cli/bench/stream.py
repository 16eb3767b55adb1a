"""One kept HTTP/1.1 connection: a request, and the reply's body as it comes. Knows what
llama-server and its kin send, and no more of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

LIMIT_BYTES = 1 << 22  # of a line


@dataclass(frozen=True, slots=True)
class Head:
    """A reply's status, and its headers with names in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        """Whether the connection ends after this reply."""
        return self.headers.get("connection", "").lower() == "close"


class Stream:
    """One request at a time. Every method raises OSError or EOFError where the peer goes away, and
    ValueError where it speaks no HTTP."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._is_closed = False

    async def request(self, method: str, path: str, body: bytes = b"") -> Head:
        """Reads up to the body. A server may have closed a connection that was idle: then the
        request goes over a new one."""
        is_kept = self._writer is not None
        try:
            return await self._request(method, path, body)
        except (OSError, EOFError):
            self._disconnect()
            if not is_kept:
                raise
            return await self._request(method, path, body)

    async def _request(self, method: str, path: str, body: bytes) -> Head:
        if self._is_closed:
            raise EOFError("the connection was closed")
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, limit=LIMIT_BYTES
            )
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        return await self._head()

    async def _head(self) -> Head:
        first = await self._line()
        headers = {}
        while line := await self._line():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Head(int(first.split(" ")[1]), headers)

    async def body(self, head: Head) -> AsyncIterator[bytes]:
        """Yields pieces as they come."""
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            async for piece in self._chunks():
                yield piece
        elif n_bytes := head.headers.get("content-length"):
            yield await self._read(int(n_bytes))
        else:
            while piece := await self._opened.read(1 << 16):
                yield piece
            self._disconnect()
        if head.is_last:
            self._disconnect()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while n_bytes := int((await self._line()).split(";")[0], 16):
            yield await self._read(n_bytes)
            await self._line()
        while await self._line():  # trailers
            pass

    async def _read(self, n_bytes: int) -> bytes:
        return await self._opened.readexactly(n_bytes)

    async def _line(self) -> str:
        line = await self._opened.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the peer closed the connection")
        return line.rstrip(b"\r\n").decode("latin-1")

    @property
    def _opened(self) -> asyncio.StreamReader:
        if self._reader is None:
            raise EOFError("the connection was closed")
        return self._reader

    def close(self) -> None:
        """For good. What is being read ends with an EOFError."""
        self._is_closed = True
        self._disconnect()

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
