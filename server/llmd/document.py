"""Holds open documents: text as a list of lines, edits in place, and columns in every unit.

Each line includes its line end; the last line has none. Only `\\n`, `\\r\\n` and `\\r` end a line,
as the LSP specifies (str.splitlines also breaks at form feeds and U+2028). The time of an edit
depends on its own length and one move of list pointers: 0.1 ms at 100,000 lines.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

Encoding = Literal["utf-8", "utf-16", "utf-32"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_DOCUMENT_NUMBERS: Iterator[int] = itertools.count(1)
_MAX_LINE = 1 << 31
MAX_URI_CHARS = 4096


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Represents a zero-based position. `col` counts characters (code points), whatever unit the
    client uses."""

    line: int
    col: int


@dataclass(frozen=True, slots=True)
class LineRange:
    """Represents the lines from `first` up to but not including `end`."""

    first: int
    end: int

    def after_edit(self, changed: int, n_old: int, n_new: int) -> LineRange:
        """Returns the range of the same text after line `changed` and the next, `n_old` lines in
        all, became `n_new` lines."""

        def shift(line: int) -> int:
            if line >= changed + n_old:
                return line + n_new - n_old
            return min(line, changed + n_new)

        return LineRange(shift(self.first), shift(self.end))


@dataclass(frozen=True, slots=True)
class Edit:
    """Represents an edit: `text` replaces `start` to `end`, and then ends at `new_end`."""

    start: Position
    end: Position
    text: str

    @property
    def new_end(self) -> Position:
        last = split_lines(self.text)
        n_lines, n_cols = len(last) - 1, len(last[-1])
        return Position(self.start.line + n_lines, n_cols + (0 if n_lines else self.start.col))

    def move_position(self, position: Position) -> Position:
        """Returns the new position of a position at or after `end`."""
        is_same_line = position.line == self.end.line
        n_cols = self.new_end.col - self.end.col if is_same_line else 0
        return Position(position.line + self.new_end.line - self.end.line, position.col + n_cols)


@dataclass(frozen=True, slots=True)
class Span:
    """Represents a range of text that grows with edits inside it and moves with edits before it."""

    start: Position
    end: Position

    def contains(self, edit: Edit) -> bool:
        return self.start <= edit.start and edit.end <= self.end

    def after_edit(self, edit: Edit) -> Span | None:
        """Returns the span after an edit; None: the edit crossed an end of the span."""
        if self.contains(edit):
            return Span(self.start, edit.move_position(self.end))
        if edit.end <= self.start:
            return Span(edit.move_position(self.start), edit.move_position(self.end))
        return self if edit.start >= self.end else None


def _common_prefix_len(left: str, right: str) -> int:
    """Returns the length of the common prefix, by binary search."""
    n_same, n_most = 0, min(len(left), len(right))
    while n_same < n_most:
        middle = (n_same + n_most + 1) // 2
        if left[n_same:middle] == right[n_same:middle]:
            n_same = middle
        else:
            n_most = middle - 1
    return n_same


def split_lines(text: str) -> list[str]:
    lines = _LINE.findall(text)
    if not lines or lines[-1][-1] in "\r\n":
        lines.append("")
    return lines


def strip_line_end(line: str) -> str:
    """Returns a line without its line end."""
    return line.rstrip("\r\n")


def text_between(lines: Sequence[str], start: Position, end: Position) -> str:
    """Returns the text from `start` to `end`. `end` must not be before `start`."""
    if start.line == end.line:
        return lines[start.line][start.col : end.col]
    inner = lines[start.line + 1 : end.line]
    return "".join([lines[start.line][start.col :], *inner, lines[end.line][: end.col]])


class Text:
    def __init__(self, text: str) -> None:
        self.lines = split_lines(text)
        self.n_chars = len(text)

    def __str__(self) -> str:
        return "".join(self.lines)

    def clamp(self, position: Position) -> Position:
        """Returns the nearest existing position. A column past the line's end becomes that end."""
        if position.line < 0:
            return Position(0, 0)
        if position.line >= len(self.lines):
            return Position(len(self.lines) - 1, len(strip_line_end(self.lines[-1])))
        n_cols = len(strip_line_end(self.lines[position.line]))
        return Position(position.line, min(max(position.col, 0), n_cols))

    def minimal_edit(self, start: Position, end: Position, text: str) -> Edit:
        """Returns the edit without unchanged text at its two ends.

        An editor may send the whole line or document for one key.
        """
        start, end = sorted((self.clamp(start), self.clamp(end)))
        old = text_between(self.lines, start, end) if text and start != end else ""
        n_same = _common_prefix_len(old, text)
        n_end = _common_prefix_len(old[n_same:][::-1], text[n_same:][::-1])
        if not (n_same or n_end) or "\r" in old or "\r" in text:
            return Edit(start, end, text)
        left = Edit(start, start, old[:n_same]).new_end
        right = Edit(left, left, old[n_same : len(old) - n_end]).new_end
        return Edit(left, right, text[n_same : len(text) - n_end])

    def replace(self, start: Position, end: Position, text: str) -> tuple[int, int, int]:
        """Replaces the text from `start` to `end` by `text`.

        Returns the first changed line, the number of lines replaced, and the number of new lines.
        """
        start, end = sorted((self.clamp(start), self.clamp(end)))
        first = start.line
        changed = self.lines[first][: start.col] + text + self.lines[end.line][end.col :]
        # "\r" at the end of the line above and "\n" at the start of this line form one line end.
        if first and start.col == 0 and changed[:1] == "\n" and self.lines[first - 1][-1] == "\r":
            first -= 1
            changed = self.lines[first] + changed
        old = self.lines[first : end.line + 1]
        new = split_lines(changed)
        if end.line + 1 < len(self.lines) and new[-1] == "":
            del new[-1]  # the last line end precedes an existing line of the document
        self.lines[first : end.line + 1] = new
        self.n_chars += sum(map(len, new)) - sum(map(len, old))
        return first, len(old), len(new)


def col_chars(line: str, col: int, encoding: Encoding) -> int:
    """Converts a client's column to characters. A column inside a character becomes its start.

    An emoji is 1 character, 2 UTF-16 units and 4 UTF-8 bytes.
    """
    if encoding == "utf-32" or line.isascii():
        return min(col, len(line))
    n_units = 0
    for index, char in enumerate(line):
        n_units += _n_units(char, encoding)
        if n_units > col:
            return index
    return len(line)


def col_units(line: str, col: int, encoding: Encoding) -> int:
    """Converts a column in characters to the client's unit."""
    if encoding == "utf-32" or line.isascii():
        return col
    return sum(_n_units(char, encoding) for char in line[:col])


def _n_units(char: str, encoding: Encoding) -> int:
    point = ord(char)
    if encoding == "utf-16":
        return 2 if point > 0xFFFF else 1
    return 1 + (point > 0x7F) + (point > 0x7FF) + (point > 0xFFFF)


@dataclass(slots=True)
class Document:
    """Holds an open document and the request state that lasts from key to key.

    `window`: the lines that the model sees. `typed`: the text typed since the anchor, with the
    closers that the editor inserted after it; None: other text in the window changed since.
    """

    uri: str
    language: str
    version: int
    text: Text
    names: tuple[str, ...]  # the path as opened and as resolved, for the eligibility checks
    window: LineRange | None = None
    typed: Span | None = None
    number: int = field(default_factory=lambda: next(_DOCUMENT_NUMBERS))  # unique in this process
    slot: int = -1  # KV cache slot; documents used for a single request share slot 0

    def __post_init__(self) -> None:
        if self.slot < 0:
            self.slot = self.number

    def edit(self, start: Position, end: Position, text: str) -> None:
        edit = self.text.minimal_edit(start, end, text)
        first, n_old, n_new = self.text.replace(edit.start, edit.end, edit.text)
        if not self.window:
            return
        is_seen = edit.start.line < self.window.end and edit.end.line >= self.window.first
        if self.typed:
            stays = self.typed.contains(edit) or not is_seen
            self.typed = self.typed.after_edit(edit) if stays else None
        self.window = self.window.after_edit(first, n_old, n_new)

    def set_text(self, text: str) -> None:
        self.edit(Position(0, 0), Position(_MAX_LINE, 0), text)


def open_document(
    uri: str, language: str, version: int, text: str, *, is_reused: bool = True
) -> Document:
    """Opens a document. `is_reused`: more than one request is expected."""
    slot = -1 if is_reused else 0
    return Document(uri, language, version, Text(text), paths_for_uri(uri), slot=slot)


def paths_for_uri(uri: str) -> tuple[str, ...]:
    """Returns the paths of a URI: as written, and with links resolved. A URI that is longer than
    any file's, or cannot be parsed, has an empty one."""
    if len(uri) > MAX_URI_CHARS:
        return ("",)
    try:
        path = unquote(urlsplit(uri).path, errors="surrogateescape")
    except ValueError:  # `file://[zz]/x`
        return ("",)
    try:
        return tuple(dict.fromkeys((path, os.path.realpath(path))))
    except (OSError, ValueError):  # a NUL in the path, a loop of links
        return (path,)
