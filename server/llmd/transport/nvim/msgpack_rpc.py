"""msgpack-RPC as bytes: notifications in, calls of our one Lua function out.

Text may hold bytes that are no UTF-8 (a file in another encoding). Each becomes one `?`, so that
a column in bytes means the same on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

# The first byte of a message: an array of three (a notification) or four (a request).
FIRST_BYTES = (b"\x93", b"\x94")
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2

# Neovim takes only its own functions' names from a peer.
RECEIVE = "return require('llmd.channel').receive(...)"

_ESCAPED = re.compile("[\udc80-\udcff]")


class PeerError(Exception):
    """What was read is no msgpack-RPC, or a message that cannot be meant. Holds no text."""


@dataclass(frozen=True, slots=True)
class RpcRequest:
    """One that waits for an answer; ours never do."""

    id: int


@dataclass(frozen=True, slots=True)
class RpcNotification:
    method: str
    params: list[Any]


class MessageDecoder:
    """Bytes in, messages out; what answers a request of ours is left out, since we make none."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(
            raw=False, unicode_errors="surrogateescape", max_buffer_size=MAX_MESSAGE_BYTES
        )

    def feed(self, data: bytes) -> Iterator[RpcRequest | RpcNotification]:
        """
        Raises:
            PeerError: the stream cannot be read on.
        """
        try:
            self._unpacker.feed(data)
            for found in self._unpacker:
                if message := _message(found):
                    yield message
        except (msgpack.exceptions.UnpackException, ValueError, TypeError) as error:
            # TypeError: a key of a map that cannot be one.
            raise PeerError(f"it is no msgpack ({type(error).__name__})") from None


def _message(found: Any) -> RpcRequest | RpcNotification | None:
    match found:
        case [0, int(id_), str(_), list(_)]:
            return RpcRequest(id_)
        case [1, int(_), _, _]:
            return None
        case [2, str(method), list(params)]:
            return RpcNotification(method, params)
    raise PeerError("it is no msgpack-RPC message")


def replace_invalid_bytes(text: str) -> str:
    """Without the bytes that are no UTF-8, as long as before."""
    return text if text.isascii() else _ESCAPED.sub("?", text)


def refusal(request: RpcRequest) -> bytes:
    reason = "The llmd daemon takes notifications only, no requests"
    return _packed([RESPONSE, request.id, reason, None])


def call(name: str, *args: Any) -> bytes:
    """`name` is what the editor is told: `show` or `state`."""
    return _packed([NOTIFICATION, "nvim_exec_lua", [RECEIVE, [name, *args]]])


def _packed(message: list[Any]) -> bytes:
    return bytes(msgpack.packb(message))
