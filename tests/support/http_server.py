"""An HTTP server on the loopback whose replies are bytes that a test writes, broken ones too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
STREAM = CHUNKED + b"Content-Type: text/event-stream\r\n\r\n"


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def chunks(*pieces: bytes) -> bytes:
    """Returns a whole chunked body."""
    return b"".join(map(chunk, (*pieces, b"")))


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Returns the body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[str]:
    """Yields the URL."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answering(reply: bytes) -> Handle:
    """Returns a handler that reads one request, writes `reply` and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)
        writer.close()

    return handle
