"""The open documents of one client. Two editors on one file have two documents."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from llmd.document.text import LineRange, Position, Text


@dataclass(slots=True)
class Document:
    uri: str
    language: str
    version: int
    text: Text
    names: tuple[str, ...]  # the path as opened and as resolved; what the gates judge
    window: LineRange | None = None

    def edit(self, start: Position, end: Position, text: str) -> None:
        first, n_old, n_new = self.text.replace(start, end, text)
        if self.window:
            self.window = self.window.moved(first, n_old, n_new)

    def set_text(self, text: str) -> None:
        self.text = Text(text)
        self.window = None


def open_document(uri: str, language: str, version: int, text: str) -> Document:
    return Document(uri, language, version, Text(text), names_of(uri))


def names_of(uri: str) -> tuple[str, ...]:
    """The paths that a URI stands for: as written, and where its links lead."""
    path = unquote(urlsplit(uri).path, errors="surrogateescape")
    try:
        return tuple(dict.fromkeys((path, os.path.realpath(path))))
    except (OSError, ValueError):  # a NUL in the path, a loop of links
        return (path,)
