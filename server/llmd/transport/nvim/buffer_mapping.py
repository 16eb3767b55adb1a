"""Maps a Neovim buffer to a document: from lines and byte columns to text and characters. Pure.

Each line of a buffer ends in a line end, the last line too. A line may contain a carriage return,
or a NUL, which Neovim sends as a line feed. Both become spaces, so that they do not end the line.
"""

from __future__ import annotations

from llmd.document import Document, Position, col_chars, col_units, strip_line_end
from llmd.transport.nvim.msgpack_rpc import replace_invalid_bytes
from llmd.transport.nvim.protocol_types import Change, RowCol

_LINE_ENDS_TO_SPACES = str.maketrans("\r\n", "  ")


def buffer_text(lines: list[str]) -> str:
    """Returns the text of a whole buffer."""
    return "".join(
        replace_invalid_bytes(line).translate(_LINE_ENDS_TO_SPACES) + "\n" for line in lines
    )


def to_position(document: Document, row_col: RowCol) -> Position:
    """Returns the nearest position that exists. From inside a character that is its start."""
    row, col_bytes = row_col
    lines = document.text.lines
    if row >= len(lines):
        return document.text.clamp(Position(row, 0))
    return Position(row, col_chars(strip_line_end(lines[row]), col_bytes, "utf-8"))


def apply(document: Document, change: Change) -> None:
    start, end = to_position(document, change.start), to_position(document, change.end)
    new = "\n".join(
        replace_invalid_bytes(line).translate(_LINE_ENDS_TO_SPACES) for line in change.lines
    )
    if _is_at(document, start, change.start) and _is_at(document, end, change.end):
        document.edit(start, end, new)
    else:
        _apply_within_character(document, change, new)
    document.version = change.version


def _is_at(document: Document, position: Position, row_col: RowCol) -> bool:
    """Returns whether `row_col` is where `position` is, and not inside a character. A row behind
    the last one counts as the end of the text."""
    lines = document.text.lines
    if row_col[0] >= len(lines):
        return True
    line = strip_line_end(lines[position.line])
    return position.col == len(line) or col_units(line, position.col, "utf-8") == row_col[1]


def _apply_within_character(document: Document, change: Change, new: str) -> None:
    """Applies a change that splits a character. Each byte left of the character becomes `?`."""
    head = _line_bytes(document, change.start[0])[: change.start[1]]
    tail = _line_bytes(document, change.end[0])[change.end[1] :]
    raw = (head + new.encode() + tail).decode("utf-8", "surrogateescape")
    end = to_position(document, (change.end[0], len(_line_bytes(document, change.end[0]))))
    document.edit(Position(change.start[0], 0), end, replace_invalid_bytes(raw))


def _line_bytes(document: Document, row: int) -> bytes:
    lines = document.text.lines
    return strip_line_end(lines[row]).encode() if row < len(lines) else b""
