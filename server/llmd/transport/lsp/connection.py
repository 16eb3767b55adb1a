"""One connection from its first byte to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import cast

from pygls.lsp.server import LanguageServer

from llmd import __version__
from llmd.transport.framing import FrameSplitter, FramingError
from llmd.transport.lsp.jsonrpc import CONVERTER
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
    session = _LspConnection(service, writer).session
    try:
        await _read_messages(reader, session)
    except (asyncio.CancelledError, ConnectionError):
        pass  # the daemon stops, or the peer is gone: 3.11 would print a traceback for each
    except FramingError as error:
        _log.warning("connection closed: %s", error)
    except Exception as error:
        _log.warning("connection closed by %s", type(error).__name__)
    finally:
        await session.end()
        await _close(writer)


async def _read_messages(reader: asyncio.StreamReader, session: LspSession) -> None:
    splitter = FrameSplitter()
    while chunk := await reader.read(CHUNK_BYTES):
        for body in splitter.feed(chunk):
            session.receive(body)
            if session.closing:
                return


async def _close(writer: asyncio.StreamWriter) -> None:
    """Sends what is written, for a moment; then drops it."""
    writer.close()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(writer.wait_closed(), CLOSE_TIMEOUT_S)
    writer.transport.abort()


class _Writer:
    """What pygls writes to: bounded, and quiet once the peer has gone."""

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

    def close(self) -> None:
        self._writer.close()


class _LspConnection(LanguageServer):
    """pygls's server object, one for each connection."""

    def __init__(self, service: Service, writer: asyncio.StreamWriter) -> None:
        super().__init__(
            "llmd", __version__, protocol_cls=LspSession, converter_factory=lambda: CONVERTER
        )
        self.session = cast(LspSession, self.protocol)
        self.session.begin(service, _Writer(writer))

    def report_server_error(self, error: Exception, source: object) -> None:
        """Upstream shows a popup in the editor. The error's words may hold the user's code."""
        _log.warning("%s: %s", getattr(source, "__name__", "error"), type(error).__name__)
