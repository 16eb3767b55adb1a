"""Defines the notifications that Neovim's plugin sends: each has one map as its only parameter.
Rows and columns are zero-based; columns are in bytes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from llmd.completion.types import OutcomeKind
from llmd.transport.connection import PeerError

NonNegative = Annotated[int, msgspec.Meta(ge=0)]
RowCol = tuple[NonNegative, NonNegative]  # row, col_bytes


class Message(msgspec.Struct, frozen=True):
    pass


class Hello(Message, frozen=True):
    """Begins the connection. The plugin also sends `hello` from time to time, to see whether the
    daemon is alive. The daemon answers with `state`."""

    protocol: int
    editor: str = ""  # name and version


class Open(Message, frozen=True):
    """Opens a buffer, or replaces the whole text of an open buffer."""

    buf: int
    uri: str
    filetype: str
    version: int
    lines: list[str]


class Change(Message, frozen=True):
    """Replaces the text from `start` to `end` by `lines`, joined by line ends."""

    buf: int
    version: int
    start: RowCol
    end: RowCol
    lines: list[str]


class Cursor(Message, frozen=True):
    buf: int
    row: NonNegative
    col_bytes: NonNegative


class Complete(Message, frozen=True):
    id: int
    buf: int
    version: int
    row: NonNegative
    col_bytes: NonNegative
    invoked: bool = False
    alternative: NonNegative = 0


class Cancel(Message, frozen=True):
    id: int


class OutcomeReport(Message, frozen=True):
    buf: int
    kind: OutcomeKind
    n_chars: NonNegative


class Accepted(Message, frozen=True):
    """Reports an outcome of kind `accepted`."""

    buf: int
    n_chars: NonNegative


class Close(Message, frozen=True):
    buf: int


MESSAGE_TYPES: dict[str, type[Message]] = {
    "hello": Hello,
    "open": Open,
    "change": Change,
    "cursor": Cursor,
    "complete": Complete,
    "cancel": Cancel,
    "outcome": OutcomeReport,
    "accepted": Accepted,
    "close": Close,
}


def parse_message(method: str, params: list[Any]) -> Message | None:
    """Returns None if the method is unknown: a later version of the plugin may send it.

    Raises:
        PeerError: the parameters are not of the expected form. Reading on could leave documents
            that differ from the editor's.
    """
    if (message_type := MESSAGE_TYPES.get(method)) is None:
        return None
    try:
        (values,) = params
        return msgspec.convert(values, message_type)
    except (ValueError, msgspec.ValidationError):
        raise PeerError(f"parameters of `{method}` are not of the expected form") from None
