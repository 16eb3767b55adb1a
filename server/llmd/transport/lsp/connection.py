"""One connection from its first byte to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from llmd.transport.framing import FramingError
from llmd.transport.lsp.session import LspSession
from llmd.transport.service import Service

CHUNK_BYTES = 64 * 1024
# A peer that asks and does not read is let go before it holds more of the daemon's memory.
MAX_UNSENT_BYTES = 8 * 1024 * 1024
CLOSE_TIMEOUT_S = 1.0

_log = logging.getLogger("llmd.lsp")


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service
) -> None:
    """Speaks LSP until either side ends it. What a client sends never raises into the caller."""
    session = LspSession(service, _Writer(writer).write)
    try:
        while not session.is_closed and (chunk := await reader.read(CHUNK_BYTES)):
            session.receive(chunk)
    except (asyncio.CancelledError, ConnectionError):
        pass  # the daemon stops, or the peer is gone: 3.11 would print a traceback for each
    except FramingError as error:
        _log.warning("connection closed: %s", error)
    except Exception as error:
        _log.warning("connection closed by %s", type(error).__name__)
    finally:
        session.end()
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Sends what is written, for a moment; then drops it."""
    writer.close()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(writer.wait_closed(), CLOSE_TIMEOUT_S)
    writer.transport.abort()


class _Writer:
    """Bounded, and quiet once the peer has gone."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        self._writer.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            _log.warning("connection dropped: it does not read its replies")
            transport.abort()
