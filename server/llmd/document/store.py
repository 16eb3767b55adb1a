"""The open documents of one client. Two editors on one file have two documents."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from llmd.document.text import LineRange, Position, Span, Text

_NUMBERS: Iterator[int] = itertools.count(1)
_END = 1 << 31


@dataclass(slots=True)
class Document:
    """`typed`: what was typed since the anchor was set, and the closers that an editor put behind
    it; None where something else in the window has changed since."""

    uri: str
    language: str
    version: int
    text: Text
    names: tuple[str, ...]  # the path as opened and as resolved; what the gates judge
    window: LineRange | None = None
    typed: Span | None = None
    number: int = field(default_factory=lambda: next(_NUMBERS))  # of this process's documents
    slot: int = -1  # of the KV cache; those that are asked about once share slot 0

    def __post_init__(self) -> None:
        if self.slot < 0:
            self.slot = self.number

    def edit(self, start: Position, end: Position, text: str) -> None:
        edit = self.text.least(start, end, text)
        first, n_old, n_new = self.text.replace(edit.start, edit.end, edit.text)
        if not self.window:
            return
        is_seen = edit.start.line < self.window.end and edit.end.line >= self.window.first
        if self.typed:
            stays = self.typed.holds(edit) or not is_seen
            self.typed = self.typed.edited(edit) if stays else None
        self.window = self.window.moved(first, n_old, n_new)

    def set_text(self, text: str) -> None:
        self.edit(Position(0, 0), Position(_END, 0), text)


def open_document(
    uri: str, language: str, version: int, text: str, *, is_kept: bool = True
) -> Document:
    """`is_kept`: it will be asked about again."""
    slot = -1 if is_kept else 0
    return Document(uri, language, version, Text(text), names_of(uri), slot=slot)


def names_of(uri: str) -> tuple[str, ...]:
    """The paths that a URI stands for: as written, and where its links lead."""
    path = unquote(urlsplit(uri).path, errors="surrogateescape")
    try:
        return tuple(dict.fromkeys((path, os.path.realpath(path))))
    except (OSError, ValueError):  # a NUL in the path, a loop of links
        return (path,)
