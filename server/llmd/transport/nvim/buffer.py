"""A Neovim buffer as a document: lines and byte columns in, characters out. Pure.

Each line of a buffer ends in a line end, also the last; a carriage return or a NUL inside a line
(Neovim gives it as a line feed) is a character of it, and becomes one that ends no line.
"""

from __future__ import annotations

from llmd.document import Document, Position, col_chars, col_units, content
from llmd.transport.nvim.msgpack_rpc import replace_invalid_bytes
from llmd.transport.nvim.protocol_types import Change, RowCol

_WITHOUT_ENDS = str.maketrans("\r\n", "  ")


def text_of(lines: list[str]) -> str:
    """Of a whole buffer."""
    return "".join(replace_invalid_bytes(line).translate(_WITHOUT_ENDS) + "\n" for line in lines)


def position_of(document: Document, place: RowCol) -> Position:
    """The nearest that exists; inside a character it is that character's start."""
    row, col_bytes = place
    lines = document.text.lines
    if row >= len(lines):
        return document.text.clamp(Position(row, 0))
    return Position(row, col_chars(content(lines[row]), col_bytes, "utf-8"))


def apply(document: Document, change: Change) -> None:
    start, end = position_of(document, change.start), position_of(document, change.end)
    new = "\n".join(replace_invalid_bytes(line).translate(_WITHOUT_ENDS) for line in change.lines)
    is_whole = _is_at(document, start, change.start) and _is_at(document, end, change.end)
    if is_whole:
        document.edit(start, end, new)
    else:
        _apply_inside_a_character(document, change, new)
    document.version = change.version


def _is_at(document: Document, position: Position, place: RowCol) -> bool:
    """False where the bytes begin or end inside a character. Beyond the text is at its end."""
    lines = document.text.lines
    if place[0] >= len(lines):
        return True
    line = content(lines[position.line])
    return position.col == len(line) or col_units(line, position.col, "utf-8") == place[1]


def _apply_inside_a_character(document: Document, change: Change, new: str) -> None:
    """What is left of the character on either side is bytes that are no text."""
    head = _line(document, change.start[0])[: change.start[1]]
    tail = _line(document, change.end[0])[change.end[1] :]
    raw = (head + new.encode() + tail).decode("utf-8", "surrogateescape")
    end = position_of(document, (change.end[0], len(_line(document, change.end[0]))))
    document.edit(Position(change.start[0], 0), end, replace_invalid_bytes(raw))


def _line(document: Document, row: int) -> bytes:
    lines = document.text.lines
    return content(lines[row]).encode() if row < len(lines) else b""
