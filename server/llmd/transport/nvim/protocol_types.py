"""The notifications of a Neovim: each has one map as its only parameter. Rows and columns count
from zero, columns in bytes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from llmd.completion.types import OutcomeKind
from llmd.transport.nvim.msgpack_rpc import PeerError

Count = Annotated[int, msgspec.Meta(ge=0)]
Place = tuple[Count, Count]  # row, col_bytes


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
    start: Place
    end: Place
    lines: list[str]


class Cursor(Message, frozen=True):
    buf: int
    row: Count
    col_bytes: Count


class Complete(Message, frozen=True):
    id: int
    buf: int
    version: int
    row: Count
    col_bytes: Count
    invoked: bool = False
    alternative: Count = 0


class Cancel(Message, frozen=True):
    id: int


class Outcome(Message, frozen=True):
    buf: int
    kind: OutcomeKind
    n_chars: Count


class Accepted(Message, frozen=True):
    """`outcome` of that kind, by its older name."""

    buf: int
    n_chars: Count


class Close(Message, frozen=True):
    buf: int


SHAPES: dict[str, type[Message]] = {
    shape.__name__.lower(): shape
    for shape in (Hello, Open, Change, Cursor, Complete, Cancel, Outcome, Accepted, Close)
}


def message_of(method: str, params: list[Any]) -> Message | None:
    """None: a method that a later plugin may have.

    Raises:
        PeerError: parameters that are none; the documents may differ from here on.
    """
    if (shape := SHAPES.get(method)) is None:
        return None
    try:
        (found,) = params
        return msgspec.convert(found, shape)
    except (ValueError, msgspec.ValidationError):
        raise PeerError(f"the parameters of `{method}` are not of the expected form") from None
