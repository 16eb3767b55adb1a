"""Encodes and decodes msgpack-RPC: notifications in, calls of the plugin's Lua function out.

Text may hold bytes that are not UTF-8, if the file has another encoding. Each such byte becomes
one `?`, so that a column in bytes means the same to Neovim and to the daemon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from llmd.transport.connection import PeerError

# The first byte of a message: an array of three (a notification) or four (a request).
FIRST_BYTES = (b"\x93", b"\x94")
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2

# A peer of Neovim can call Neovim's own functions only, so a call goes through `nvim_exec_lua`.
RECEIVE = "return require('llmd.channel').receive(...)"

_ESCAPED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class RpcRequest:
    """Represents a request of Neovim, which waits for a reply. The plugin sends none."""

    id: int


@dataclass(frozen=True, slots=True)
class RpcNotification:
    method: str
    params: list[Any]


class MessageDecoder:
    """Turns chunks of any size into messages. Skips replies, since the daemon sends no requests."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(
            raw=False, unicode_errors="surrogateescape", max_buffer_size=MAX_MESSAGE_BYTES
        )

    def feed(self, data: bytes) -> Iterator[RpcRequest | RpcNotification]:
        """Yields each message that `data` completes.

        Raises:
            PeerError: the stream cannot be read further.
        """
        try:
            self._unpacker.feed(data)
            for value in self._unpacker:
                if message := _to_message(value):
                    yield message
        except (msgpack.exceptions.UnpackException, ValueError, TypeError) as error:
            # msgpack raises TypeError for a map's key that Python cannot hash.
            raise PeerError(f"message is not msgpack ({type(error).__name__})") from None


def _to_message(value: Any) -> RpcRequest | RpcNotification | None:
    match value:
        case [0, int(id_), str(_), list(_)]:
            return RpcRequest(id_)
        case [1, int(_), _, _]:
            return None
        case [2, str(method), list(params)]:
            return RpcNotification(method, params)
    raise PeerError("message is not a request, a response or a notification of msgpack-RPC")


def replace_invalid_bytes(text: str) -> str:
    """Replaces each byte that is not UTF-8 by `?`. The length in bytes stays the same."""
    return text if text.isascii() else _ESCAPED.sub("?", text)


def encode_refusal(request: RpcRequest) -> bytes:
    """Returns the reply to a request, which the daemon never grants."""
    reason = "The llmd daemon takes notifications only, no requests"
    return bytes(msgpack.packb([RESPONSE, request.id, reason, None]))


def encode_call(name: str, *args: Any) -> bytes:
    """Returns a call of the plugin's function `name`, which is `show` or `state`."""
    call = [NOTIFICATION, "nvim_exec_lua", [RECEIVE, [name, *args]]]
    return bytes(msgpack.packb(call))
