"""The documents of one client, as it tells them, and what its bridge keeps of their changes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from lsprotocol import types as t

from llmd.document import Document, Encoding, Position, col_chars, col_units, content, open_document
from llmd.transport.lsp.protocol_types import valid

# A bridge's journal of one document may grow to this, or to the size of the document.
JOURNAL_BYTES = 64 * 1024

_log = logging.getLogger("llmd.lsp")


@dataclass(slots=True)
class ChangeCount:
    """What a bridge holds of one document's changes since it was opened or last sent whole."""

    n_open: int  # its number among the didOpens of the connection
    n_changes: int = 0  # since it was opened
    n_bytes: int = 0  # since it was last sent


class Documents:
    """`open`: by their uris."""

    def __init__(self) -> None:
        self.open: dict[str, Document] = {}
        self.encoding: Encoding = "utf-16"
        self._journals: dict[str, ChangeCount] = {}
        self._n_opens = 0
        self._stale: set[str] = set()  # documents that miss a change, until they come whole

    def get(self, uri: str) -> Document | None:
        """One whose text is the editor's."""
        return None if uri in self._stale else self.open.get(uri)

    def is_current(self, document: Document, version: int) -> bool:
        return self.get(document.uri) is document and document.version == version

    def add(self, item: t.TextDocumentItem) -> None:
        self.open[item.uri] = open_document(
            item.uri, str(item.language_id), item.version, valid(item.text)
        )
        self._n_opens += 1
        self._journals[item.uri] = ChangeCount(self._n_opens)

    def change(self, params: t.DidChangeTextDocumentParams) -> Document | None:
        """The document; None where it is not open."""
        document = self.open.get(params.text_document.uri)
        if document is None:
            return None
        document.version = params.text_document.version
        for change in params.content_changes:
            if not isinstance(change, t.TextDocumentContentChangePartial):
                document.set_text(valid(change.text))
                self._stale.discard(document.uri)
            elif document.uri not in self._stale:
                start = self.from_client(document, change.range.start)
                end = self.from_client(document, change.range.end)
                document.edit(start, end, valid(change.text))
        return document

    def mark_stale(self, params: Any) -> None:
        """Nothing is said of the document until its whole text comes; of all, where the message
        does not say which it is."""
        document = params.get("textDocument") if isinstance(params, dict) else None
        uri = document.get("uri") if isinstance(document, dict) else None
        self._stale |= {uri} & self.open.keys() if isinstance(uri, str) else set(self.open)
        if isinstance(uri, str) and uri in self._journals:
            self._journals[uri].n_changes += 1
        _log.warning("A change of a document can't be read; its next whole text is waited for")

    def remove(self, uri: str) -> Document | None:
        """The document, where it was open."""
        self._journals.pop(uri, None)
        self._stale.discard(uri)
        return self.open.pop(uri, None)

    def snapshot_if_due(self, document: Document, n_body_bytes: int) -> dict[str, Any] | None:
        """A bridge keeps every change in case we go away; now and then it gets the text instead.
        `n_body_bytes`: of the change that it has just kept."""
        journal = self._journals[document.uri]
        journal.n_changes += 1
        journal.n_bytes += n_body_bytes
        is_long = journal.n_bytes > max(JOURNAL_BYTES, document.text.n_chars)
        if not is_long or document.uri in self._stale:
            return None
        journal.n_bytes = 0
        counts = {"n_changes": journal.n_changes, "n_open": journal.n_open}
        return {**snapshot_of(document), **counts}

    def from_client(self, document: Document, position: t.Position) -> Position:
        """The position in characters; one that does not exist becomes the nearest that does."""
        lines = document.text.lines
        if position.line >= len(lines):
            return document.text.clamp(Position(position.line, 0))
        line = content(lines[position.line])
        return Position(position.line, col_chars(line, position.character, self.encoding))

    def to_client(self, document: Document, position: Position) -> t.Position:
        line = document.text.lines[position.line]
        return t.Position(position.line, col_units(line, position.col, self.encoding))


def snapshot_of(document: Document) -> dict[str, Any]:
    text = "".join(document.text.lines)
    return {"uri": document.uri, "version": document.version, "text": text}
