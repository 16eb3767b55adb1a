"""One Neovim's connection from its first byte to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from llmd.transport.nvim.msgpack_rpc import MessageDecoder, PeerError, RpcRequest, call, refusal
from llmd.transport.nvim.protocol_types import message_of
from llmd.transport.nvim.session import NvimSession
from llmd.transport.service import Service

CHUNK_BYTES = 64 * 1024
# A peer that asks and does not read is let go before it holds more of the daemon's memory.
MAX_UNSENT_BYTES = 8 * 1024 * 1024
CLOSE_TIMEOUT_S = 1.0

_log = logging.getLogger("llmd.nvim")


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service
) -> None:
    """Serves until either side ends it. What a client sends never raises into the caller."""
    connection = _NvimConnection(writer)
    session = NvimSession(service, connection.tell)
    try:
        await connection.read(reader, session)
    except (asyncio.CancelledError, ConnectionError):
        pass  # the daemon stops, or the peer is gone
    except PeerError as error:
        _log.warning("connection closed: %s", error)
    except Exception as error:  # its words may hold the user's code
        _log.warning("connection closed by %s", type(error).__name__)
    finally:
        session.end()
        await connection.close()


class _NvimConnection:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def read(self, reader: asyncio.StreamReader, session: NvimSession) -> None:
        messages = MessageDecoder()
        while chunk := await reader.read(CHUNK_BYTES):
            for found in messages.feed(chunk):
                if isinstance(found, RpcRequest):
                    self._send(refusal(found))
                elif message := message_of(found.method, found.params):
                    session.receive(message)

    def tell(self, name: str, *args: Any) -> None:
        self._send(call(name, *args))

    def _send(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        self._writer.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            _log.warning("connection dropped: it does not read what it is told")
            transport.abort()

    async def close(self) -> None:
        """Sends what is written, for a moment; then drops it."""
        self._writer.close()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await asyncio.wait_for(self._writer.wait_closed(), CLOSE_TIMEOUT_S)
        self._writer.transport.abort()
