"""Serves one connection, whatever protocol the connection speaks: reads chunks for the session,
writes what the session sends, and closes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from llmd.transport.framing import FramingError

CHUNK_BYTES = 64 * 1024
# Drops a peer that does not read its replies, before they fill the daemon's memory. Chosen.
MAX_UNSENT_BYTES = 8 * 1024 * 1024
CLOSE_TIMEOUT_S = 1.0

Send = Callable[[bytes], None]


class PeerError(Exception):
    """Reports a message that breaks the peer's protocol. Never holds the peer's text."""


class Session(Protocol):
    is_closed: bool  # no more data is read

    def receive(self, data: bytes) -> None:
        """Handles a chunk of any size.

        Raises:
            FramingError, PeerError: the stream cannot be read further.
        """

    def end(self) -> None:
        """Cancels the pending requests and closes the documents. Called once."""


async def serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    start: Callable[[Send], Session],
    log: logging.Logger,
) -> None:
    """Serves until either peer closes. Nothing that a peer sends raises an error here."""
    session = start(lambda data: _send(writer, data, log))
    try:
        while not session.is_closed and (chunk := await reader.read(CHUNK_BYTES)):
            session.receive(chunk)
    except (asyncio.CancelledError, ConnectionError):
        pass  # the daemon stops, or the peer has closed: asyncio would log a traceback for each
    except (FramingError, PeerError) as error:
        log.warning("connection closed: %s", error)
    except Exception as error:  # the error's message may hold the user's code
        log.warning("connection closed by %s", type(error).__name__)
    finally:
        session.end()
        await _close(writer)


def _send(writer: asyncio.StreamWriter, data: bytes, log: logging.Logger) -> None:
    if writer.transport.is_closing():
        return
    writer.write(data)
    if writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
        log.warning("connection dropped: the client does not read its replies")
        writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Waits `CLOSE_TIMEOUT_S` for the client to read what was written, then drops the rest."""
    writer.close()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(writer.wait_closed(), CLOSE_TIMEOUT_S)
    writer.transport.abort()
