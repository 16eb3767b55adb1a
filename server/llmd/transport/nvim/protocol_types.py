"""The notifications of a Neovim: each has one map as its only parameter. Rows and columns count
from zero, columns in bytes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from llmd.completion.types import OutcomeKind
from llmd.transport.nvim.msgpack_rpc import PeerError

NonNegative = Annotated[int, msgspec.Meta(ge=0)]
RowCol = tuple[NonNegative, NonNegative]  # row, col_bytes


class Message(msgspec.Struct, frozen=True):
    pass


class Hello(Message, frozen=True):
    """Also asked now and then to see whether we are awake; `state` answers it."""

    protocol: int
    editor: str = ""  # name and version


class Open(Message, frozen=True):
    """The whole text, also of a buffer that is open: it takes the old one's place."""

    buf: int
    uri: str
    filetype: str
    version: int
    lines: list[str]


class Change(Message, frozen=True):
    """`lines` stand where `start` to `end` stood, joined by line ends."""

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


def message_of(method: str, params: list[Any]) -> Message | None:
    """None: a method that a later plugin may have.

    Raises:
        PeerError: parameters that are none; the documents may differ from here on.
    """
    if (message_type := MESSAGE_TYPES.get(method)) is None:
        return None
    try:
        (found,) = params
        return msgspec.convert(found, message_type)
    except (ValueError, msgspec.ValidationError):
        raise PeerError(f"the parameters of `{method}` are not of the expected form") from None
