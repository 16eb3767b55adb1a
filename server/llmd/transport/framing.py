"""Splits a stream into LSP frames: `Content-Length: N`, an empty line, N bytes. Imports only the
standard library, because the bridge, which every editor spawns, imports this module.

After a malformed header the next frame cannot be found, so every fault raises a FramingError and
ends the connection. This module does not look into the bodies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_HEADER_BYTES = 8 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
SEND_BUFFER_BYTES = 256 * 1024  # of a socket; macOS has 8 KiB, 40 turns for a document of 300 kB

_END = b"\r\n\r\n"
_BARE_NEWLINE = re.compile(rb"(?<!\r)\n")
_NUMBER = re.compile(rb"[0-9]{1,12}")


class FramingError(ValueError):
    """Reports bytes that are not LSP frames. The message never holds those bytes."""


class FrameSplitter:
    """Turns chunks of any size into bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._n_body: int | None = None  # None: the header block has not ended yet

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields each body that `data` completes.

        Raises:
            FramingError: after the bodies before the fault. The splitter cannot be used further.
        """
        self._buffer += data
        while (body := self._next()) is not None:
            yield body

    def _next(self) -> bytes | None:
        if self._n_body is None:
            self._n_body = self._take_header()
        if self._n_body is None or len(self._buffer) < self._n_body:
            return None
        body = bytes(self._buffer[: self._n_body])
        del self._buffer[: self._n_body]
        self._n_body = None
        return body

    def _take_header(self) -> int | None:
        end = self._buffer.find(_END, 0, MAX_HEADER_BYTES + len(_END))
        header = bytes(self._buffer[: end if end >= 0 else MAX_HEADER_BYTES])
        if _BARE_NEWLINE.search(header):
            raise FramingError("LSP header line ends in a bare newline, expected \\r\\n")
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise FramingError(f"LSP header is longer than {MAX_HEADER_BYTES} bytes")
            return None
        del self._buffer[: end + len(_END)]
        return _body_length(header)


def _body_length(header: bytes) -> int:
    lengths = []
    for line in header.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            raise FramingError("LSP header line has no colon, expected `Name: value`")
        if name.strip().lower() == b"content-length":
            lengths.append(value.strip(b" \t"))
    if len(lengths) != 1:
        raise FramingError(f"LSP header has {len(lengths)} Content-Length lines, expected one")
    if not _NUMBER.fullmatch(lengths[0]):
        raise FramingError("Content-Length is not a number of bytes")
    n_bytes = int(lengths[0])
    if n_bytes > MAX_BODY_BYTES:
        raise FramingError(f"LSP body of {n_bytes} bytes is over the limit of {MAX_BODY_BYTES}")
    return n_bytes


def build_message(**members: Any) -> bytes:
    """Returns the body of a JSON-RPC message: `method` and `params`, `id` and `result`, …"""
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def frame(body: bytes) -> bytes:
    """Returns `body` with its header."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
