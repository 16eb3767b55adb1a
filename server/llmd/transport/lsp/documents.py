"""Holds the documents of one client, and counts the changes that the client's bridge records."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from lsprotocol import types as t

from llmd.document import (
    Document,
    Encoding,
    Position,
    col_chars,
    col_units,
    open_document,
    strip_line_end,
)

# The bridge's journal of a document gets a snapshot once it exceeds this and the document's size.
JOURNAL_BYTES = 64 * 1024

_SURROGATE = re.compile("[\ud800-\udfff]")

_log = logging.getLogger("llmd.lsp")


@dataclass(slots=True)
class ChangeCount:
    """Counts the changes of one document that the bridge's journal records."""

    n_open: int  # number of the document's didOpen among those of the connection
    n_changes: int = 0  # since the didOpen
    n_bytes: int = 0  # since the didOpen or the latest snapshot


class Documents:
    """Holds the documents of one client.

    `open`: by URI. A stale document missed a change and gets no completions until its whole
    text arrives.
    """

    def __init__(self) -> None:
        self.open: dict[str, Document] = {}
        self.encoding: Encoding = "utf-16"
        self._journals: dict[str, ChangeCount] = {}
        self._n_opens = 0
        self._stale: set[str] = set()  # by URI

    def get(self, uri: str) -> Document | None:
        """Returns an open document whose text is the editor's."""
        return None if uri in self._stale else self.open.get(uri)

    def is_current(self, document: Document, version: int) -> bool:
        return self.get(document.uri) is document and document.version == version

    def add(self, item: t.TextDocumentItem) -> None:
        self.open[item.uri] = open_document(
            item.uri, str(item.language_id), item.version, replace_surrogates(item.text)
        )
        self._n_opens += 1
        self._journals[item.uri] = ChangeCount(self._n_opens)

    def change(self, params: t.DidChangeTextDocumentParams) -> Document | None:
        """Applies a change and returns the document; None if the document is not open."""
        document = self.open.get(params.text_document.uri)
        if document is None:
            return None
        document.version = params.text_document.version
        for change in params.content_changes:
            if not isinstance(change, t.TextDocumentContentChangePartial):
                document.set_text(replace_surrogates(change.text))
                self._stale.discard(document.uri)
            elif document.uri not in self._stale:
                start = self.from_client(document, change.range.start)
                end = self.from_client(document, change.range.end)
                document.edit(start, end, replace_surrogates(change.text))
        return document

    def mark_stale(self, params: Any) -> None:
        """Marks the document of an invalid change as stale. If the params do not name the document,
        marks all documents."""
        identifier = params.get("textDocument") if isinstance(params, dict) else None
        uri = identifier.get("uri") if isinstance(identifier, dict) else None
        self._stale |= {uri} & self.open.keys() if isinstance(uri, str) else set(self.open)
        if isinstance(uri, str) and uri in self._journals:
            self._journals[uri].n_changes += 1
        _log.warning("change of a document is invalid; no completions until its whole text comes")

    def remove(self, uri: str) -> Document | None:
        """Returns the removed document; None if the document was not open."""
        self._journals.pop(uri, None)
        self._stale.discard(uri)
        return self.open.pop(uri, None)

    def snapshot_if_due(self, document: Document, n_body_bytes: int) -> dict[str, Any] | None:
        """Returns the whole text for the bridge's journal once the recorded changes are longer than
        the text; else None. `n_body_bytes`: length of the latest change's message."""
        journal = self._journals[document.uri]
        journal.n_changes += 1
        journal.n_bytes += n_body_bytes
        is_long = journal.n_bytes > max(JOURNAL_BYTES, document.text.n_chars)
        if not is_long or document.uri in self._stale:
            return None
        journal.n_bytes = 0
        counts = {"n_changes": journal.n_changes, "n_open": journal.n_open}
        return {**to_snapshot(document), **counts}

    def from_client(self, document: Document, position: t.Position) -> Position:
        """Converts to characters. Returns the nearest position that exists."""
        lines = document.text.lines
        if position.line >= len(lines):
            return document.text.clamp(Position(position.line, 0))
        line = strip_line_end(lines[position.line])
        return Position(position.line, col_chars(line, position.character, self.encoding))

    def to_client(self, document: Document, position: Position) -> t.Position:
        line = document.text.lines[position.line]
        return t.Position(position.line, col_units(line, position.col, self.encoding))


def replace_surrogates(text: str) -> str:
    """Replaces each half of a surrogate pair, which JSON can spell and UTF-8 cannot encode."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def to_snapshot(document: Document) -> dict[str, Any]:
    """Returns the document's whole text as `llmd/snapshot` sends it."""
    text = "".join(document.text.lines)
    return {"uri": document.uri, "version": document.version, "text": text}
